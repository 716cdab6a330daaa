"""Batch norms and ReLUs become parts of convolutions, and outputs stay what they are."""

import numpy as np
import pytest
import torch
from torch import nn

from representation.fused_convolutions import ConvolutionRelu, fuse_convolutions
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
    folded = fuse_convolutions(encoder, lambda network: network(images))
    assert count(folded) == 0 and (count(encoder) > 0) == name.startswith("resnet")
    # Of each backbone the stem's three and the first of each of four blocks; the others' outputs
    # have the shortcut added before their ReLU.
    assert count(folded, ConvolutionRelu) == (14 if name.startswith("resnet") else 0)
    assert count(encoder, nn.ReLU) - count(folded, nn.ReLU) == count(folded, ConvolutionRelu)
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
    folded = fuse_convolutions(network, lambda network: network(images))
    assert count(folded) == 1
    torch.testing.assert_close(folded(images), network(images))


def test_a_network_that_runs_twice_is_folded_once():
    torch.manual_seed(0)
    network = settled(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()))
    images = torch.randn(2, 2, 8, 8)

    def twice(network):
        return network(network(images))

    folded = fuse_convolutions(network, twice)
    assert count(folded) == 0 and count(network) == 1
    torch.testing.assert_close(twice(folded), twice(network))


class Shared(nn.Module):
    """One ReLU for a convolution and for a sum in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images):
        made = self.second(self.relu(self.first(images)))
        made += images
        return self.relu(made)


def test_a_relu_that_also_reads_something_else_is_left_alone():
    torch.manual_seed(0)
    network, images = Shared().eval(), torch.randn(2, 2, 8, 8)
    fused = fuse_convolutions(network, lambda network: network(images))
    assert count(fused, nn.ReLU) == 1 and not count(fused, ConvolutionRelu)
    torch.testing.assert_close(fused(images), network(images))


class Scales(nn.Module):
    """Large numbers beside those of a convolution whose output is read twice."""

    def __init__(self):
        super().__init__()
        self.convolution, self.relu = nn.Conv2d(2, 3, 3), nn.ReLU()

    def forward(self, images):
        made = self.convolution(images)
        return torch.cat([1e4 * images.mean((2, 3)), (self.relu(made) + made).mean((2, 3))], -1)


def test_a_small_number_beside_large_ones_is_held_to_its_own_size():
    torch.manual_seed(0)
    network, images = Scales().eval(), torch.randn(2, 2, 8, 8)
    fused = fuse_convolutions(network, lambda network: network(images))
    torch.testing.assert_close(fused(images), network(images))


def test_a_convolution_with_a_hook_does_more_than_to_convolve():
    network, images = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()).eval(), torch.randn(2, 2, 8, 8)
    network[0].register_forward_hook(lambda *outputs: 2 * outputs[-1] - 1)
    fused = fuse_convolutions(network, lambda network: network(images).flatten(1))
    assert not count(fused, ConvolutionRelu)


def test_batch_norms_without_statistics_are_left_and_any_padding_is_folded():
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    network = nn.Sequential(nn.Conv2d(2, 2, 3), norm, nn.Conv2d(2, 2, 3, padding="same"))
    network = network.append(settled(nn.BatchNorm2d(2))).append(nn.ReLU()).eval()
    images = torch.randn(2, 2, 8, 8)
    fused = fuse_convolutions(network, lambda network: network(images).flatten(1))
    assert (count(fused), count(fused, nn.ReLU)) == (1, 1)


def test_convolutions_are_fused_in_inference_mode_too():
    network, images = nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU()).eval(), torch.randn(2, 2, 8, 8)
    with torch.inference_mode():
        fused = fuse_convolutions(network, lambda network: network(images).flatten(1))
    assert count(fused, ConvolutionRelu) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize(("half", "off"), [(False, 1e-5), (True, 0.02)])
@pytest.mark.parametrize("settings", [{"stride": 2, "padding": 1}, {"groups": 4, "bias": False}])
def test_a_convolution_with_its_relu_is_what_both_are_one_after_the_other(half, off, settings):
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 8, 3, **settings).cuda().to(memory_format=torch.channels_last)
    images = torch.randn(5, 4, 9, 7, device="cuda")
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        expected = torch.relu(convolution(images))
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            found = ConvolutionRelu(convolution)(images)
    assert found.dtype == (torch.bfloat16 if half else torch.float32)
    torch.testing.assert_close(found.float(), expected, atol=off, rtol=off)
