from __future__ import annotations

import torch

from representation.preprocessing import normalise_contact, normalise_depth


def test_the_range_of_depth_becomes_minus_one_to_one():
    depth = torch.tensor([0.2, 0.3, 0.4])
    expected = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(normalise_depth(depth, (0.2, 0.4)), expected)


def test_depth_beyond_the_range_is_clipped():
    depth = torch.tensor([0.1, 0.9])
    assert normalise_depth(depth, (0.2, 0.4)).tolist() == [-1.0, 1.0]


def test_what_returns_nothing_is_far():
    depth = torch.tensor([0.0, float("nan"), float("inf"), -float("inf"), -1.0])
    assert normalise_depth(depth, (0.2, 0.4)).tolist() == [1.0] * 5


def test_a_mask_becomes_minus_one_and_one():
    mask = torch.tensor([0, 1, 1], dtype=torch.uint8)
    normalised = normalise_contact(mask)
    assert normalised.tolist() == [-1.0, 1.0, 1.0]
    assert normalised.dtype == torch.float32
    assert normalise_contact(mask.bool()).tolist() == [-1.0, 1.0, 1.0]
