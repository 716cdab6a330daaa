"""The page of other libraries, which `scripts/clients.py` runs where they are installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.clients import PAGE, Client, clients, run

CLIENTS = clients(PAGE.read_text(encoding="utf-8"))


def test_the_page_names_the_libraries():
    named = {"torchrl", "skrl", "rsl-rl", "rllib", "tianshou", "cleanrl", "pufferlib", "sb3", "sbx"}
    assert named | {"rl-zoo", "mjlab", "imitation", "play", "minari", "lerobot"} == set(CLIENTS)
    assert CLIENTS["imitation"].overrides[0] == "gymnasium>=1.2.2" and not CLIENTS["sb3"].overrides


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_what_the_page_says_can_be_read(client):
    assert client.needs and client.lines
    if client.language == "python":
        ast.parse(client.code)
    else:
        subprocess.run(["bash", "-n"], input=client.code, text=True, check=True)


@pytest.mark.parametrize(
    ("code", "expected"), [("print(1)", "ok"), ("raise ValueError('no')", "ValueError: no")]
)
def test_a_client_is_run_and_its_error_told(code, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.clients.ENVIRONMENTS", tmp_path)
    client = Client("numpy", ("numpy",), "numpy", "python", code)
    leftover = tmp_path / "numpy-run" / "of an earlier run"
    leftover.mkdir(parents=True)
    version, result = run(client, Path(sys.executable))
    assert version[0].isdigit() and result == expected
    assert not leftover.exists()
