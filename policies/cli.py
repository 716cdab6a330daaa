"""The `vtinsert` command: picks a command and loads it.

A command is a function whose arguments are its options and whose docstring is its help. Only the
one that is asked for is imported, and what is heavy only once its options are judged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tyro

from policies.commands import CommandError

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
    "touch": "Calibrate a real GelSight, or read depth and contact from its images.",
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
        if given[0] in COMMANDS:
            return _run(given[0], given[1:])
        if given[0] == "--version":
            print(_version())
            return 0
        # The help, or what there is instead of a command that there is not.
        tyro.extras.subcommand_cli_from_dict(
            {name: _summary(text) for name, text in COMMANDS.items()},
            prog="vtinsert",
            description=_DESCRIPTION,
            args=given,
        )
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if not _is_the_users(error):
            raise
        print(f"vtinsert {given[0]}: {error}", file=sys.stderr)
        return 2
    finally:
        _flush()
    return 0


def _run(name: str, given: Sequence[str]) -> int:
    """Parse a command's options and run it.

    A command with a parameter `settings` also takes the settings of its task's environment as
    options. The task is asked for them only where it has to be, as that takes a second.
    """
    command = load_command(name, given)

    @functools.wraps(command)
    def bind(**options: Any) -> functools.partial[int]:
        return functools.partial(command, **options)

    parse = functools.partial(tyro.cli, bind, prog=f"vtinsert {name}", args=given)
    has_settings = "settings" in inspect.signature(command).parameters
    try:
        bound, left = parse(return_unknown_args=True)
    except SystemExit as leaving:
        task = _given_task(given)
        if leaving.code == 0 and has_settings and task is not None:
            from policies.worlds import settings_help

            print(settings_help(task))
        raise
    if left:
        from policies.choices import check_name
        from policies.worlds import parse_settings, setting_names

        task = _task_of(bound.keywords) if has_settings else None
        if task is None:
            parse()  # without leave to return them, the parser says what is wrong with them
        assert task is not None
        known = [*setting_names(task, options=True), *_options(command)]
        for word in left:
            if word.startswith("--"):
                option = word.partition("=")[0]
                check_name(
                    option, known, f"option of {name}", f"vtinsert {name} --task {task} --help"
                )
        bound = functools.partial(bound, settings=parse_settings(task, left))
    with _signals_as_interruption():
        return bound()


def _options(command: Callable[..., int]) -> Iterator[str]:
    """Options of a command: its parameters, and the fields of those that are configurations."""
    for name, parameter in inspect.signature(command).parameters.items():
        fields = dataclasses.fields(d) if dataclasses.is_dataclass(d := parameter.default) else ()
        for option in [field.name for field in fields] or [name]:
            if option != "settings":  # those are options each
                yield f"--{option.replace('_', '-')}"


def _task_of(options: Mapping[str, Any]) -> str | None:
    """The task that a command's options name, themselves or in a configuration, if any."""
    named = (str(o.task) for o in options.values() if hasattr(o, "task"))
    return options.get("task") or next(named, None)


def _given_task(given: Sequence[str]) -> str | None:
    """What follows --task."""
    for word, following in itertools.pairwise([*given, ""]):
        option, equals, value = word.partition("=")
        if option == "--task":
            return value if equals else following
    return None


def _is_the_users(error: Exception) -> bool:
    """Whether the user can put an error right: a value, a file or a package is not what it must be.

    What raises these says what was given, what is allowed and what to do.
    """
    gymnasium = sys.modules.get("gymnasium")
    missing = () if gymnasium is None else (gymnasium.error.DependencyNotInstalled,)
    return isinstance(error, (CommandError, ValueError, OSError, *missing))


def _version() -> str:
    try:
        return f"vtinsert {importlib.metadata.version('vtinsert')}"
    except importlib.metadata.PackageNotFoundError:
        return "vtinsert, not installed"


@contextlib.contextmanager
def _signals_as_interruption() -> Iterator[None]:
    """Let what schedulers and containers send end a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _flush() -> None:
    """Flush what is printed; drop it if its reader, such as `head`, has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(text: str) -> Callable[[], int]:
    """A command as the help knows it."""

    def summary() -> int:
        raise AssertionError("a command that is a summary was run")

    summary.__doc__ = text
    return summary


if __name__ == "__main__":
    sys.exit(main())
