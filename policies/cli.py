"""The `vtinsert` command: picks a command and loads it.

A command is a function whose arguments are its options and whose docstring is its help. Only the
one that is asked for is imported, so that `vtinsert --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

import tyro

from policies.commands import CommandError
from vtenv.interruption import end_as_interrupted

COMMANDS = {
    "demo": "Watch a learned policy insert all four connectors: a table and a video.",
    "view": "Drive the hand from the keyboard and see what the sensors see.",
    "doctor": "Say what works on this machine, and what to do about what does not.",
    "benchmark": "Measure steps a second: physics, each sensor, the whole environment.",
    "dataset": "Make a data set: the paper's grasps, experience of the task, or clutter.",
    "pretrain": "Train an encoder on a data set: the paper's presets, ours, or your own options.",
    "probe": "Audit what encoders know: pose, connector, and what the senses share.",
    "train": "Train a policy on a representation: PPO, SAC, TQC, RecurrentPPO or DAgger.",
    "evaluate": "Play a policy on fixed seeds: success, steps, forces and failures, with a video.",
    "ablate": "Train a grid of representations and seeds, and compare their policies.",
    "report": "Write an ablation's tables, curves and videos as one page.",
}
"""What each command does, by name; the first line of its function's docstring."""

_DESCRIPTION = (
    "Visuotactile connector insertion: a Gymnasium environment for learned touch and sight."
)


def load_command(name: str, arguments: Sequence[str] = ()) -> Callable[..., int]:
    """Import the function behind a command.

    Args:
        name: One of `COMMANDS`.
        arguments: What it will be given.

    Returns:
        The function; it returns the exit code.
    """
    module = importlib.import_module(f"policies.commands.{name}")
    if hasattr(module, "configured"):
        # Its options' defaults follow from other options, such as the name of a preset.
        configured: Callable[..., int] = module.configured(arguments)
        return configured
    command: Callable[..., int] = getattr(module, name)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vtinsert`.

    Args:
        arguments: The command line after the program's name; None for the process's own.

    Returns:
        The exit code: 0 for success, 2 for an error that the user can put right, 130 when
        interrupted: by Ctrl-C, SIGTERM or SIGHUP.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with end_as_interrupted():
            code: int = tyro.extras.subcommand_cli_from_dict(
                {name: _command(name, given) for name in COMMANDS},
                prog="vtinsert",
                description=_DESCRIPTION,
                args=given,
            )
    except CommandError as error:
        print(f"vtinsert {given[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    finally:
        _flush()
    return code


def _flush() -> None:
    """Flush what is printed; drop it if its reader, such as `head`, has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(name: str, given: Sequence[str]) -> Callable[..., int]:
    """The function behind a command, or one with its summary where it is not asked for."""
    if given[0] == name:
        return load_command(name, given[1:])

    def summary() -> int:
        raise AssertionError(f"{name} was not loaded")

    summary.__doc__ = COMMANDS[name]
    return summary


if __name__ == "__main__":
    sys.exit(main())
