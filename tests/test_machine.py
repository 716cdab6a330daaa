"""What is said of the machine."""

from policies import machine


def test_gpus_are_counted_by_name(monkeypatch):
    monkeypatch.setattr(machine, "_output", lambda *_: "NVIDIA H200\nNVIDIA H200\nNVIDIA L4")
    assert machine.hardware()["gpus"] == "2 NVIDIA H200, 1 NVIDIA L4"


def test_a_machine_without_gpus_names_none(monkeypatch):
    monkeypatch.setattr(machine, "_output", lambda *_: "")
    assert "gpus" not in machine.hardware()
