"""What is said of the machine."""

from vtenv import provenance


def test_gpus_are_counted_by_name(monkeypatch):
    monkeypatch.setattr(provenance, "_output", lambda *_: "NVIDIA H200\nNVIDIA H200\nNVIDIA L4")
    assert provenance.hardware()["gpus"] == "2 NVIDIA H200, 1 NVIDIA L4"


def test_a_machine_without_gpus_names_none(monkeypatch):
    monkeypatch.setattr(provenance, "_output", lambda *_: "")
    assert "gpus" not in provenance.hardware()


def test_a_copy_is_told_its_commit(tmp_path, monkeypatch):
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, "0123456789ab")
    assert provenance.commit() == "0123456789ab"
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "vtenv" / "provenance.py"))
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    assert provenance.commit() is None
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, "5c52d524f4e3-dirty")
    assert provenance.commit() == "5c52d524f4e3-dirty"


def test_versions_are_told_of_a_checkout_that_is_not_installed(monkeypatch):
    def missing(name):
        raise provenance.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(provenance.importlib.metadata, "requires", missing)
    assert {"gymnasium", "mujoco", "torch"} <= {one.name for one in provenance.requirements()}
    assert provenance.versions()["mujoco"] is not None
