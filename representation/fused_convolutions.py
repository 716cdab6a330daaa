"""Convolutions that do what follows them: batch norms that are done with training, and ReLUs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

_TOLERANCE = 1e-3
"""Largest change of the output, as a part of its largest value, that counts as none."""


class ConvolutionRelu(nn.Module):
    """A convolution and the ReLU after it: on CUDA one kernel, where they would be three passes.

    Args:
        convolution: The convolution.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, images: Tensor) -> Tensor:
        """The output, (B, C, H, W), for images (B, C', H', W')."""
        made = self.convolution
        if not images.is_cuda:
            return torch.relu_(made(images))
        # Autocast does not know of the operation.
        half = torch.is_autocast_enabled("cuda")
        dtype = torch.get_autocast_dtype("cuda") if half else images.dtype
        bias = None if made.bias is None else made.bias.to(dtype)
        return torch.cudnn_convolution_relu(
            images.to(dtype),
            made.weight.to(dtype),
            bias,
            made.stride,
            made.padding,  # type: ignore[arg-type]
            made.dilation,
            made.groups,
        )


@torch.no_grad()
def fuse_convolutions(network: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of a network without the batch norms and ReLUs that read a convolution's output.

    Which do is found by running it. Where something else reads that output as well, the copy
    computes something else: then it is a copy with all its batch norms, or with all its ReLUs.

    Args:
        network: In evaluation mode, of float32, on a CPU.
        run: Runs a network of this kind on an example.
    """
    network = _without(network, run, nn.BatchNorm2d, fuse_conv_bn_eval)
    return _without(network, run, nn.ReLU, lambda convolution, _: ConvolutionRelu(convolution))


def _without(
    network: nn.Module,
    run: Callable[[nn.Module], Tensor],
    kind: type[nn.Module],
    fuse: Callable[[nn.Conv2d, Any], nn.Module],
) -> nn.Module:
    """A copy without modules of a kind, where convolutions can do what they do.

    Args:
        network: The network.
        run: Runs it on an example.
        kind: Of the modules, without subclasses, which may do more.
        fuse: What takes the place of a convolution and of the module that reads it.
    """
    fused = copy.deepcopy(network)
    # With their outputs: otherwise another tensor might get the same identity.
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    read: dict[nn.Module, set[nn.Conv2d | None]] = {}

    def after(convolution: nn.Conv2d, _: Any, output: Tensor) -> None:
        made[id(output)] = convolution, output, output._version

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        convolution, output, version = made.get(id(inputs[0]), (None, inputs[0], 0))
        # A shortcut may have been added to it in place.
        unchanged = output._version == version
        read.setdefault(module, set()).add(convolution if unchanged else None)

    hooks: list[Any] = []
    for module in fused.modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(after))
        elif type(module) is kind:
            hooks.append(module.register_forward_pre_hook(before))
    expected = run(fused)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in fused.named_modules()}
    for module, convolutions in read.items():
        convolution = next(iter(convolutions))
        # A module that is run at several places does there what it did.
        if len(convolutions) == 1 and convolution is not None and _is_plain(convolution):
            fused.set_submodule(names[convolution], fuse(convolution, module))
            fused.set_submodule(names[module], nn.Identity())
    off = (run(fused) - expected).abs().max()
    same = bool(off <= _TOLERANCE * expected.abs().max())
    return fused if same else copy.deepcopy(network)


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether cuDNN does all of it, padding included, and in one."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
