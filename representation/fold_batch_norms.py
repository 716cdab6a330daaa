"""Batch norms that are done with training, as parts of the convolutions before them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

_TOLERANCE = 1e-3
"""Largest change of the output, as a part of its largest value, that counts as none."""


@torch.no_grad()
def fold_batch_norms(network: nn.Module, run: Callable[[nn.Module], Tensor]) -> nn.Module:
    """A copy of a network without the batch norms that read the output of a convolution.

    Which do is found by running it. Where something else reads that output as well, the copy
    computes something else: then it is a copy with all its batch norms.

    Args:
        network: In evaluation mode, of float32, on a CPU.
        run: Runs a network of this kind on an example.
    """
    folded = copy.deepcopy(network)
    # With their outputs: otherwise another tensor might get the same identity.
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def after(convolution: nn.Conv2d, _: Any, output: Tensor) -> None:
        made[id(output)] = convolution, output

    def before(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            pairs[norm] = made[id(inputs[0])][0]

    hooks: list[Any] = []
    for module in folded.modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(after))
        elif type(module) is nn.BatchNorm2d:  # others do more than to normalise
            hooks.append(module.register_forward_pre_hook(before))
    expected = run(folded)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in folded.named_modules()}
    for norm, convolution in pairs.items():
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        folded.set_submodule(names[norm], nn.Identity())
    off = (run(folded) - expected).abs().max()
    same = bool(off <= _TOLERANCE * expected.abs().max())
    return folded if same else copy.deepcopy(network)
