"""Nests of tensors are laid in blocks and taken out again; on CUDA, functions are recorded."""

import gc
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from vtenv.arrays import leaves, rebuild  # noqa: E402
from vtenv.engines.cuda_graph import (  # noqa: E402
    Packed,
    call_in_place,
    capture_graph,
    copy_tensors,
    no_collection,
)


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
    tensors["image"] = torch.ones(2, 2)  # of another shape
    copies = copy_tensors(tensors)
    assert list(copies) == list(tensors)
    copies["a"].fill_(-1)
    assert tensors["a"].tolist() == [0, 1, 2]
    assert torch.equal(copies["b"], tensors["b"]) and torch.equal(copies["flags"], tensors["flags"])
    assert copies["flags"].dtype == torch.bool


def test_no_garbage_is_collected_meanwhile():
    with pytest.raises(RuntimeError, match="broken"), no_collection():
        assert not gc.isenabled()
        with no_collection():
            pass
        assert not gc.isenabled()
        raise RuntimeError("broken")
    assert gc.isenabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_graphs_that_are_garbage_do_not_break_a_capture():
    device = torch.device("cuda:0")

    def add(x):
        nests = [[] for _ in range(5000)]  # enough for a collection
        return x + len(nests)

    x = torch.ones(3, device=device)
    for _ in range(8):
        old = capture_graph(add, device)
        old(x)
        old.itself = old
        del old
        assert torch.equal(capture_graph(add, device)(x), x + 5000)


def test_a_function_is_captured_after_its_first_calls_and_reads_its_arguments_where_they_were():
    captured = []

    def scale(batch, rate):
        return {"values": batch["values"] * rate, "first": batch["values"][0]}

    def capture(function, arguments):
        """In the place of a graph: runs the function on the same tensors again."""
        captured.append(arguments)
        return lambda: {key: value.clone() for key, value in function(*arguments).items()}

    call, results = call_in_place(scale, capture, warmup=2), []
    for number in range(1, 5):
        batch = {"values": torch.full((3,), float(number)), "kept": torch.tensor([number])}
        results.append(call(batch, torch.tensor(0.5)))
        assert len(captured) == (number >= 2)
        batch["values"].fill_(-1.0)  # whoever calls may use them again
    assert [result["values"].tolist() for result in results] == [[n / 2] * 3 for n in range(1, 5)]
    assert [result["first"].item() for result in results] == [1.0, 2.0, 3.0, 4.0]
    assert captured[0][0]["kept"].item() == 4
    other = {"values": torch.ones(2), "kept": torch.tensor([0])}  # of another shape
    assert call(other, torch.tensor(2.0))["values"].tolist() == [2.0, 2.0] and len(captured) == 1
    assert call(other, torch.tensor(3.0))["values"].tolist() == [3.0, 3.0] and len(captured) == 2


def test_a_capture_that_failed_is_tried_again_and_not_forgotten():
    def capture(function, arguments):
        raise RuntimeError("not allowed")

    call = call_in_place(torch.neg, capture, warmup=1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not allowed"):
            call(torch.ones(2))


def test_a_call_in_inference_mode_leaves_the_next_one_what_it_needs():
    call = call_in_place(torch.neg, lambda function, arguments: lambda: function(*arguments), 1)
    with torch.inference_mode():
        call(torch.ones(2))
    assert call(torch.full((2,), 3.0)).tolist() == [-3.0, -3.0]
