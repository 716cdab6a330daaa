"""Kill long commands at random moments, go on, and compare with what was never killed.

    uv run python scripts/kills.py --kills 5 --output docs/results/kills.json

Each command runs in a process of its own and gets SIGKILL, which no program can notice. What it
then leaves is gone on with as the documentation says, and must end in the same files, to the bit.
"""

from __future__ import annotations

import hashlib
import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from vtenv import provenance
from vtenv.atomic_write import write_text

_PROGRAM = (sys.executable, "-c", "import sys; from policies.cli import main; sys.exit(main())")


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        arguments: What follows `vtinsert`, without --output.
        results: Patterns of the files that must be the same in the end.
        resume: What follows `vtinsert` to go on, without --output; None for the same again.
    """

    arguments: tuple[str, ...]
    results: tuple[str, ...]
    resume: tuple[str, ...] | None = None


def commands(data: Path) -> dict[str, Command]:
    """What is killed, by name.

    Args:
        data: Folder of the data set that encoders are trained on.
    """
    small = ("--image-size", "16", "--contact-size", "16")
    train = (
        *("train", "--representation", "state", "--connectors", "usb", "--num-threads", "1"),
        *("--filmed", "0", "--evaluation-episodes", "4"),
    )
    policy = ("policy/policy.safetensors", "best/policy.safetensors")
    return {
        "dataset": Command(
            ("dataset", "experience", "--frames", "6000", "--worlds", "16", *small),
            ("*.safetensors", "preview.png"),
        ),
        "pretrain": Command(
            (
                *("pretrain", "--data", str(data), "--objective", "infonce"),
                *("--backbone", "test_resnet", "--epochs", "5", "--batch-size", "64"),
                *("--from-scratch", "--accelerator", "cpu"),
            ),
            ("encoder/*.safetensors",),
            ("pretrain", "--resume"),
        ),
        "train ppo": Command(
            (
                *(*train, "--algorithm", "ppo", "--steps", "8192", "--num-envs", "16"),
                *("--checkpoint-every", "1024", "--evaluate-every", "4096"),
            ),
            policy,
            ("train", "--resume"),
        ),
        "train sac": Command(
            (
                *(*train, "--algorithm", "sac", "--steps", "2000", "--num-envs", "4"),
                *("--checkpoint-every", "400", "--evaluate-every", "1000"),
            ),
            policy,
            ("train", "--resume"),
        ),
    }


@dataclass(frozen=True)
class Options:
    """The options."""

    kills: int = 5
    """Kills of each command."""
    only: tuple[str, ...] = ()
    """Commands by name; by default all."""
    seed: int = 0
    """Seed of the moments."""
    output: Path = Path("outputs/kills.json")
    """File for the result; what it holds of other commands stays."""


def study(
    name: str, command: Command, kills: int, rng: random.Random, folder: Path
) -> dict[str, Any]:
    """Kill one command at random moments.

    Returns:
        Moments in seconds since the command began to write, what was wrong, and how long it takes
        by itself.
    """
    whole = folder / "whole"
    with _started(command.arguments, whole) as process:
        _wait_for(process, whole)
        begun = time.monotonic()
        process.wait()
    seconds = time.monotonic() - begun
    expected = _digests(whole, command)
    if not expected:
        raise FileNotFoundError(f"there is no result in {whole}")
    moments, wrong, killed = [], [], 0
    while killed < kills:
        broken = folder / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        moment = rng.uniform(0.0, seconds)
        if not _kill(command.arguments, broken, moment):
            continue  # it was faster than before
        killed += 1
        moments.append(round(moment, 2))
        try:
            resume = command.resume if (broken / "config.json").is_file() else None
            if resume or _digests(broken, command) != expected:
                _run(resume or command.arguments, broken)
            if _digests(broken, command) != expected:
                wrong.append({"moment": moment, "what": "another result"})
        except subprocess.CalledProcessError as error:
            wrong.append({"moment": moment, "what": error.stderr.strip().splitlines()[-1:]})
        print(
            f"{name}: {killed} of {kills} kills, {len(wrong)} not resumed to the same", flush=True
        )
    return {"seconds": round(seconds, 1), "kills": kills, "moments_s": moments, "wrong": wrong}


def main(options: Options) -> int:
    """Kill all commands, and write down what came of it.

    Returns:
        1 if one did not end as if it had not been killed, otherwise 0.
    """
    rng, commit = random.Random(options.seed), provenance.commit()  # before its file is changed
    results: dict[str, Any] = {}
    if options.output.exists():
        results = json.loads(options.output.read_text(encoding="utf-8"))["commands"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "data"
        every = commands(data)
        names = options.only or tuple(every)
        if unknown := set(names) - set(every):
            raise ValueError(f"unknown commands {sorted(unknown)}; choose from {list(every)}")
        if "pretrain" in names:
            _run((*every["dataset"].arguments, "--seed", "1"), data)
        for name in names:
            place = folder / name.replace(" ", "-")
            place.mkdir()
            results[name] = {
                "made_by": shlex.join(["python", "scripts/kills.py", *sys.argv[1:]]),
                "commit": commit,
                **study(name, every[name], options.kills, rng, place),
            }
            shutil.rmtree(place)
            document = _write(options.output, results)
    print(f"{document['kills']} kills, {document['wrong']} not resumed to the same result")
    return int(bool(document["wrong"]))


def _write(output: Path, results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    document = {
        "hardware": provenance.hardware(),
        "kills": sum(found["kills"] for found in results.values()),
        "wrong": sum(len(found["wrong"]) for found in results.values()),
        "commands": results,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, json.dumps(document, indent=1) + "\n")
    return document


def _run(arguments: tuple[str, ...], output: Path) -> None:
    command = [*_PROGRAM, *arguments, "--output", str(output)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _started(arguments: tuple[str, ...], output: Path) -> subprocess.Popen[bytes]:
    command = [*_PROGRAM, *arguments, "--output", str(output)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for(process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until a command has begun to write: what comes before is imports."""
    while process.poll() is None and not (output.is_dir() and any(output.iterdir())):
        time.sleep(0.01)


def _kill(arguments: tuple[str, ...], output: Path, after: float) -> bool:
    """Whether the process still ran when it was to be killed."""
    with _started(arguments, output) as process:
        _wait_for(process, output)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return True
    return False


def _digests(folder: Path, command: Command) -> dict[str, str]:
    files = sorted({path for pattern in command.results for path in folder.glob(pattern)})
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
