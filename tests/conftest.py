"""What tests of several modules need."""

import os
import shutil
import signal
import subprocess

import gymnasium
import hypothesis
import pytest

# The workers of a run share the cores: threads of one would spin while another's work. Read when
# PyTorch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests send themselves Ctrl-C, which a shell's background job and its children ignore.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def warp_device(request):
    """A device of the Warp engine."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("mujoco_warp")
    if request.param != "cpu" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return request.param


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
