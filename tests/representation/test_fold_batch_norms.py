"""Batch norms become parts of convolutions, and outputs stay what they are."""

import numpy as np
import pytest
import torch
from torch import nn

from representation.fold_batch_norms import fold_batch_norms
from representation.runtime import example_image
from representation.timm_encoder import VisuotactileEncoder


def count(network, kind=nn.BatchNorm2d):
    return sum(isinstance(module, kind) for module in network.modules())


def settled(network):
    """In evaluation mode, with statistics that are not those it begins with."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return network.eval()


@pytest.mark.parametrize("name", ["resnet-dynamics", "resnet-pose", "vit-dynamics"])
def test_bundled_encoders_are_as_before_without_any(name):
    rng = np.random.default_rng(0)
    encoder = VisuotactileEncoder.from_pretrained(name)
    images = {
        key: torch.from_numpy(example_image(key, shape, 4, "float32", rng))
        for key, shape in encoder.image_shapes.items()
    }
    folded = fold_batch_norms(encoder, lambda network: network(images))
    assert count(folded) == 0 and (count(encoder) > 0) == name.startswith("resnet")
    with torch.no_grad():
        torch.testing.assert_close(folded(images), encoder(images), atol=1e-4, rtol=1e-4)


class Residual(nn.Module):
    """What the convolution gives is read by the batch norm, and added to its output."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images):
        made = self.convolution(images)
        return made + self.norm(made).relu()


def test_a_convolution_that_something_else_reads_is_left_alone():
    torch.manual_seed(0)
    network, images = settled(Residual()), torch.randn(2, 2, 8, 8)
    folded = fold_batch_norms(network, lambda network: network(images))
    assert count(folded) == 1
    torch.testing.assert_close(folded(images), network(images))


def test_a_network_that_runs_twice_is_folded_once():
    torch.manual_seed(0)
    network = settled(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()))
    images = torch.randn(2, 2, 8, 8)

    def twice(network):
        return network(network(images))

    folded = fold_batch_norms(network, twice)
    assert count(folded) == 0 and count(network) == 1
    torch.testing.assert_close(twice(folded), twice(network))
