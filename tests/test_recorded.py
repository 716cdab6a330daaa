"""Nests of tensors are laid in blocks and taken out again; on CUDA, functions are recorded."""

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from vtenv.engines.cuda_graph import Packed, copied, leaves, rebuild, recorded  # noqa: E402


@dataclass(frozen=True)
class Pair:
    left: torch.Tensor
    right: dict


def nest():
    return (
        Pair(torch.arange(6.0).reshape(2, 3), {"flags": torch.tensor([True, False])}),
        {"codes": torch.tensor([[4], [5]]), "none": None, "number": torch.tensor(2.5)},
        (),
    )


def test_a_nest_is_rebuilt_around_other_tensors():
    tree = nest()
    again = rebuild(tree, iter([leaf + 0 for leaf in leaves(tree)]))
    assert isinstance(again[0], Pair) and again[1]["none"] is None and again[2] == ()
    for old, new in zip(leaves(tree), leaves(again), strict=True):
        assert torch.equal(old, new) and old is not new


def test_what_is_packed_comes_out_as_new_tensors():
    tree = nest()
    packed = Packed.pack(tree)
    assert set(packed.blocks) == {torch.float32, torch.bool, torch.int64}
    first, second = packed.copy(), packed.copy()
    for old, new in zip(leaves(tree), leaves(first), strict=True):
        assert torch.equal(old, new) and old.dtype == new.dtype and old.shape == new.shape
    first[0].left.fill_(-1)
    assert torch.equal(second[0].left, tree[0].left)
    assert torch.equal(packed.copy()[0].left, tree[0].left)


def test_copies_are_new_tensors_that_share_no_element():
    tensors = {"a": torch.arange(3.0), "flags": torch.ones(3, dtype=torch.bool), "b": torch.ones(3)}
    copies = copied(tensors)
    assert list(copies) == list(tensors)
    copies["a"].fill_(-1)
    assert tensors["a"].tolist() == [0, 1, 2]
    assert torch.equal(copies["b"], tensors["b"]) and torch.equal(copies["flags"], tensors["flags"])
    assert copies["flags"].dtype == torch.bool


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="dicts, tuples and dataclasses of tensors, not 3"):
        list(leaves({"a": 3}))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_recording_does_what_the_function_does():
    device = torch.device("cuda:0")
    own = torch.zeros(4, device=device)
    calls = []

    def function(values, mask):
        calls.append(None)
        own.add_(1.0)
        total = values["a"] * 2 + own
        return {"total": total if mask is None else torch.where(mask, total, 0.0), "own": own}

    again = recorded(function, device)
    kept = []
    for step in range(1, 5):
        values = {"a": torch.full((4,), float(step), device=device)}
        kept.append((step, again(values, None)["total"]))
    assert len(calls) == 2  # once as it is, once to record
    for step, total in kept:
        assert total.tolist() == [3.0 * step] * 4
    mask = torch.tensor([True, False, True, False], device=device)
    assert again({"a": torch.zeros(4, device=device)}, mask)["total"].tolist() == [5.0, 0, 5.0, 0]
    assert again({"a": torch.zeros(4, device=device)}, ~mask)["total"].tolist() == [0, 6.0, 0, 6.0]
