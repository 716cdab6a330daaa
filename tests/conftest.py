"""What tests of several modules need."""

import shutil
import subprocess

import gymnasium
import pytest


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def warp_device(request):
    """A device of the Warp engine."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("mujoco_warp")
    if request.param != "cpu" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return request.param


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch on one thread: the networks are small, and other tests run beside."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def volume(request, tmp_path):
    """A small file system of its own, as a container's volume; skips where none can be mounted."""
    folder, size = tmp_path / "volume", getattr(request, "param", "1m")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # shards are mapped


@pytest.fixture(autouse=True)
def registered_as_before():
    """Fail a test that changes what later ones make: Gymnasium hands out its registry's specs."""
    yield
    spec = gymnasium.registry.get("VTInsert-v0")
    assert spec is None or not spec.kwargs
