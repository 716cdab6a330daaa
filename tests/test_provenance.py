"""What is said of the machine."""

from vtenv import provenance


def test_gpus_are_counted_by_name(monkeypatch):
    monkeypatch.setattr(provenance, "_output", lambda *_: "NVIDIA H200\nNVIDIA H200\nNVIDIA L4")
    assert provenance.hardware()["gpus"] == "2 NVIDIA H200, 1 NVIDIA L4"


def test_a_machine_without_gpus_names_none(monkeypatch):
    monkeypatch.setattr(provenance, "_output", lambda *_: "")
    assert "gpus" not in provenance.hardware()
