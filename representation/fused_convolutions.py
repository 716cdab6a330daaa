"""Convolutions that do what follows them: batch norms that are done with training, and ReLUs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

_TOLERANCE = 1e-3
"""Largest change of a number of the output, as a part of its largest value, that counts as none."""


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
        own = self.convolution
        if not images.is_cuda:
            return torch.relu_(own(images))
        # Autocast does not know of the operation.
        autocast = torch.is_autocast_enabled("cuda")
        dtype = torch.get_autocast_dtype("cuda") if autocast else images.dtype
        bias = None if own.bias is None else own.bias.to(dtype)
        return torch.cudnn_convolution_relu(
            images.to(dtype),
            own.weight.to(dtype),
            bias,
            own.stride,
            own.padding,  # type: ignore[arg-type]
            own.dilation,
            own.groups,
        )


def fuse_convolutions(network: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of a network without the batch norms and ReLUs that read a convolution's output.

    Which do is found by running it. Where something else reads that output as well, the copy
    computes something else: then it is a copy with all its batch norms, or with all its ReLUs.

    Args:
        network: In evaluation mode, of float32, on a CPU.
        run: Runs a network of this kind on an example; returns (B, D).
    """
    # Tensors of inference mode do not tell whether they were changed.
    with torch.inference_mode(False), torch.no_grad():
        network = _without(network, run, nn.BatchNorm2d, _settled, fuse_conv_bn_eval)
        return _without(network, run, nn.ReLU, _padded_by_cudnn, lambda c, _: ConvolutionRelu(c))


def _without(
    network: nn.Module,
    run: Callable[[nn.Module], Tensor],
    kind: type[nn.Module],
    fits: Callable[[nn.Conv2d, Any], bool],
    fuse: Callable[[nn.Conv2d, Any], nn.Module],
) -> nn.Module:
    """A copy without modules of a kind, where convolutions can do what they do.

    Args:
        network: The network.
        run: Runs it on an example.
        kind: Of the modules, without subclasses, which may do more.
        fits: Whether a convolution and the module that reads it can be fused.
        fuse: What takes the place of both.
    """
    fused = copy.deepcopy(network)
    # With their outputs: otherwise another tensor might get the same identity.
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    read: dict[nn.Module, set[nn.Conv2d | None]] = {}

    def after(convolution: nn.Conv2d, _: Any, output: Tensor) -> None:
        made[id(output)] = convolution, output, output._version

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = made.get(id(inputs[0])) if inputs else None
        # A shortcut may have been added to it in place.
        unchanged = found is not None and found[1]._version == found[2]
        read.setdefault(module, set()).add(found[0] if found and unchanged else None)

    plain = [m for m in fused.modules() if type(m) is nn.Conv2d and _is_plain(m)]
    hooks: list[Any] = [convolution.register_forward_hook(after) for convolution in plain]
    for module in fused.modules():
        if type(module) is kind:
            hooks.append(module.register_forward_pre_hook(before))
    expected = run(fused)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in fused.named_modules()}
    for module, convolutions in read.items():
        convolution = next(iter(convolutions))
        # A module that is run at several places does there what it did.
        if len(convolutions) == 1 and convolution is not None and fits(convolution, module):
            fused.set_submodule(names[convolution], fuse(convolution, module))
            fused.set_submodule(names[module], nn.Identity())
    off = (run(fused) - expected).abs()
    # Of each number by itself: those of two images may be of different sizes.
    allowed = _TOLERANCE * (expected.abs().amax(0) + _TOLERANCE * expected.abs().max())
    return fused if bool((off <= allowed).all()) else copy.deepcopy(network)


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether it does nothing but convolve with weights of its own."""
    hooks = (convolution._forward_hooks, convolution._forward_pre_hooks)
    return isinstance(convolution.weight, nn.Parameter) and not any(hooks)


def _settled(_: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Whether a batch norm has statistics, and does not take those of each batch."""
    return norm.running_mean is not None


def _padded_by_cudnn(convolution: nn.Conv2d, _: nn.ReLU) -> bool:
    """Whether a convolution's padding is numbers of zeros."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
