"""Files of PyTorch, and what ends their writing."""

import io

import pytest
import torch

from representation.tensor_file import pytorch_document, read_state, write_state


class Interrupted(io.BytesIO):
    """A file in whose writing Ctrl-C comes."""

    def write(self, data: object) -> int:
        raise KeyboardInterrupt


def test_a_state_comes_back(tmp_path):
    write_state(tmp_path / "state.pt", {"a": torch.arange(3), "b": [1, "two"]})
    state = read_state(tmp_path / "state.pt", "cpu")
    assert torch.equal(state["a"], torch.arange(3)) and state["b"] == [1, "two"]


def test_an_interruption_stays_one_and_leaves_no_file(tmp_path):
    path = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt), pytorch_document(path):
        torch.save({"a": torch.ones(1000)}, Interrupted())
    assert not path.exists()


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="no room"), pytorch_document(tmp_path / "state.pt"):
        raise RuntimeError("no room")
