from __future__ import annotations

import pytest
import torch

from representation.encoder_config import ImageRange
from representation.preprocessing import normalise
from vtenv.modalities import IMAGE_MODALITIES

DEPTH = ImageRange(0.0, 1.0, (0.2, 0.4), missing_at_zero=True)


def test_the_range_becomes_minus_one_to_one():
    depth = torch.tensor([0.2, 0.3, 0.4])
    torch.testing.assert_close(normalise(depth, DEPTH), torch.tensor([-1.0, 0.0, 1.0]))


def test_what_lies_beyond_the_range_is_clipped():
    assert normalise(torch.tensor([0.1, 0.9]), DEPTH).tolist() == [-1.0, 1.0]


def test_what_returns_nothing_is_far():
    depth = torch.tensor([0.0, float("nan"), float("inf"), -float("inf"), -1.0])
    assert normalise(depth, DEPTH).tolist() == [1.0] * 5


def test_zero_indentation_is_a_measurement():
    gel = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert normalise(gel, IMAGE_MODALITIES["gel"]).tolist() == [-1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float64])
def test_a_mask_of_any_type_becomes_minus_one_and_one(dtype):
    normalised = normalise(torch.tensor([0, 1, 1], dtype=dtype), IMAGE_MODALITIES["contact"])
    assert normalised.tolist() == [-1.0, 1.0, 1.0]
    assert normalised.dtype == torch.float32
