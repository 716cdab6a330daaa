"""Runs other libraries against VTInsert as docs/other-libraries.md says, each in its environment.

    python scripts/clients.py                                # every client
    python scripts/clients.py torchrl sbx                    # some of them
    python scripts/clients.py minari --python /path/python   # in an environment that is there

Needs `uv`, and the package index. Prints a table: client, version, lines of glue, result.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "other-libraries.md"
ENVIRONMENTS = ROOT / "outputs" / "clients"
SECONDS = 1800
"""Time that a client may take."""

_CLIENT = re.compile(
    r"^<!-- client: (?P<name>[\w-]+); needs: (?P<needs>[^;]+); version: (?P<version>[\w-]+)"
    r"(?:; overrides: (?P<overrides>[^;]+))? -->\n+"
    r"```(?P<language>python|bash)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Client:
    """A client as the page has it.

    Attributes:
        name: Its name.
        needs: Requirements to install beside VTInsert.
        version: The distribution whose version is told.
        language: "python" or "bash".
        code: What to run.
        overrides: Requirements that hold in place of those of other distributions.
    """

    name: str
    needs: tuple[str, ...]
    version: str
    language: str
    code: str
    overrides: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """Lines of code that are not blank."""
        return sum(bool(line.strip()) for line in self.code.splitlines())


def clients(page: str) -> dict[str, Client]:
    """The clients of the page, by name."""
    found: dict[str, Client] = {}
    for match in _CLIENT.finditer(page):
        parts: dict[str, Any] = match.groupdict(default="")
        parts |= {name: tuple(parts[name].split()) for name in ("needs", "overrides")}
        found[parts["name"]] = Client(**parts)
    return found


def make_environment(client: Client) -> Path:
    """A virtual environment with the client and VTInsert; the interpreter's path."""
    folder = ENVIRONMENTS / client.name
    python = folder / "bin" / "python"
    _check(["uv", "venv", "--quiet", "--clear", "--python", "3.12", str(folder)])
    overrides = folder / "overrides.txt"
    overrides.write_text("\n".join(client.overrides), encoding="utf-8")
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), "-e", str(ROOT)]
    _check([*install, "--override", str(overrides), *client.needs])
    return python


def run(client: Client, python: Path) -> tuple[str, str]:
    """Run a client.

    Returns:
        Its version, and "ok" or the last line of what went wrong.
    """
    told = f"from importlib.metadata import version; print(version({client.version!r}))"
    version = _check([str(python), "-c", told]).strip()
    shell = {"python": [str(python), "-"], "bash": ["bash", "-e"]}[client.language]
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    folder = ENVIRONMENTS / f"{client.name}-run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        done = subprocess.run(
            shell,
            input=client.code,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return version, f"not done after {SECONDS} s"
    if done.returncode == 0:
        return version, "ok"
    print(done.stdout, file=sys.stderr)
    return version, done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "failed"


def main() -> int:
    """Run the clients that are named, or all."""
    known = clients(PAGE.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"all by default: {', '.join(known)}")
    parser.add_argument("--python", type=Path, help="an interpreter that has the clients already")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"there is no client {min(unknown)}; choose from {', '.join(known)}")
    print("| client | version | lines | result |\n|---|---|---:|---|", flush=True)
    failed = False
    for name in options.names or known:
        client = known[name]
        try:
            version, result = run(client, options.python or make_environment(client))
        except subprocess.CalledProcessError as error:
            version, result = "", (error.stderr.strip().splitlines() or [str(error)])[-1]
        failed |= result != "ok"
        print(f"| {name} | {version} | {client.lines} | {result} |", flush=True)
    return int(failed)


def _check(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


if __name__ == "__main__":
    sys.exit(main())
