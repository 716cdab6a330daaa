"""The `vtinsert` command: picks a command and loads it.

A command is a function whose arguments are its options and whose docstring is its help. Only the
one that is asked for is imported, and what is heavy only once its options are judged.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import dataclasses
import difflib
import functools
import importlib
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tyro

from policies.options_file import with_files

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
    "audit": "Ask whether a world needs touch: who inserts with it, and who without.",
    "ablate": "Train a grid of representations and seeds, and compare their policies.",
    "touch": "Calibrate a real GelSight, or read depth and contact from its images.",
    "report": "Write ablations' scores, tables, curves and videos, each as one page.",
}
"""What each command does, by name; the first line of its function's docstring."""

_CONVENTIONS = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.DisallowNone,  # an option is left out instead
)
"""How configurations become options: by their fields' names alone."""
_DESCRIPTION = (
    "Visuotactile connector insertion: a Gymnasium environment for learned touch and sight."
)


def load_command(name: str, arguments: Sequence[str] = ()) -> Callable[..., int]:
    """Import the function behind one of `COMMANDS`, for these arguments."""
    module = importlib.import_module(f"policies.commands.{name}")
    if hasattr(module, "configured"):
        # Its options' defaults follow from other options, such as the name of a preset.
        configured: Callable[..., int] = module.configured(arguments)
        return configured
    command: Callable[..., int] = getattr(module, name)
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `vtinsert`, with the process's own arguments unless others are given.

    Returns:
        The exit code: 0 for success, 2 for an error that the user can put right, 130 when
        interrupted: by Ctrl-C, SIGTERM or SIGHUP.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if "" not in sys.path:
        sys.path.append("")  # for MODULE:NAME in the current folder; what is installed comes first
    try:
        given = [given[0], *with_files(given[1:])]
        if given[0] in COMMANDS:
            command = parse(given[0], given[1:])
            with _signals_as_interruption(), _thread_errors_once():
                return command()
        if given[0] == "--version":
            print(_version())
            return 0
        # The help, or what there is instead of a command that there is not.
        tyro.extras.subcommand_cli_from_dict(
            # Dataclasses, which tyro reads sooner than functions.
            {
                name: dataclasses.make_dataclass(name, (), namespace={"__doc__": text})
                for name, text in COMMANDS.items()
            },
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
        said = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            said = f"{error.filename}: {error.strerror}"
        print(f"vtinsert {given[0]}: {said}", file=sys.stderr)
        return 2
    finally:
        _flush()
    return 0


def parse(name: str, given: Sequence[str]) -> Callable[[], int]:
    """A command with its options, ready to run.

    A command with a parameter `settings` also takes the settings of its task's environment as
    options. The task is asked for them only where it has to be, as that takes a second.
    """
    command = load_command(name, given)

    @functools.wraps(command)
    def bind(**options: Any) -> functools.partial[int]:
        return functools.partial(command, **options)

    options = functools.partial(
        tyro.cli, bind, prog=f"vtinsert {name}", args=given, config=_CONVENTIONS
    )
    has_settings = "settings" in inspect.signature(command).parameters
    try:
        bound, left = options(return_unknown_args=True) if has_settings else (options(), [])
    except SystemExit as leaving:
        if leaving.code == 0 and has_settings and (task := _named_task(given)):
            from policies.worlds import settings_help

            print(settings_help(task))
        raise
    if left:
        task = _chosen_task(bound.keywords)
        if task is None or not _are_settings(task, left):
            options()  # without leave to return them, the parser says what is wrong with them
        from policies.worlds import parse_settings

        bound = functools.partial(bound, settings=parse_settings(str(task), left))
    return bound


def _are_settings(task: str, words: Sequence[str]) -> bool:
    """Whether all options among words are settings of a task's environment, or nearly so."""
    from policies.worlds import setting_names

    known = setting_names(task, options=True)
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    return all(difflib.get_close_matches(option, known, 1, 0.8) for option in options)


def _chosen_task(options: Mapping[str, Any]) -> str | None:
    """The task that a command's options name, themselves or in a configuration, if any."""
    from policies.worlds import DEFAULT_TASK

    named = (option.task or DEFAULT_TASK for option in options.values() if hasattr(option, "task"))
    return options.get("task") or next(named, None)


def _named_task(given: Sequence[str]) -> str | None:
    """What follows --task."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task", nargs="?")
    task: str | None = parser.parse_known_args(given)[0].task
    return task


def _is_the_users(error: Exception) -> bool:
    """Whether the user can put an error right: a value, a file or a package is not what it must be.

    What raises these says what was given, what is allowed and what to do.
    """
    gymnasium = sys.modules.get("gymnasium")
    missing = () if gymnasium is None else (gymnasium.error.DependencyNotInstalled,)
    return isinstance(error, (ValueError, OSError, *missing))


def _version() -> str:
    import importlib.metadata  # takes a while

    try:
        return f"vtinsert {importlib.metadata.version('vtinsert')}"
    except importlib.metadata.PackageNotFoundError:
        return "vtinsert, not installed"


def _interrupt_main_thread() -> None:
    """Raise KeyboardInterrupt in the main thread, also where it waits in a call of the system."""
    main_thread = threading.main_thread().ident
    numbers = (signal.SIGINT, signal.SIGTERM)  # a shell may have the first one ignored
    heard = [n for n in numbers if signal.getsignal(n) is signal.default_int_handler]
    if hasattr(signal, "pthread_kill") and main_thread and heard:
        signal.pthread_kill(main_thread, heard[0])
    else:
        _thread.interrupt_main()


@contextlib.contextmanager
def _signals_as_interruption() -> Iterator[None]:
    """Let what schedulers and containers send end a command as Ctrl-C does.

    What is ignored stays so: `nohup` lets a command outlive its terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in heard}
    print_ignored = sys.unraisablehook

    def interrupt_again(ignored: sys.UnraisableHookArgs) -> None:
        # An interruption within a callback from C, such as those of Numba's compiler, is dropped.
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            threading.Timer(0.1, _interrupt_main_thread).start()
        else:
            print_ignored(ignored)

    sys.unraisablehook = interrupt_again
    try:
        yield
    finally:
        sys.unraisablehook = print_ignored
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _thread_errors_once() -> Iterator[None]:
    """Print no OSError of a thread of TensorBoard's: its writer raises it in the caller, too."""
    print_error = threading.excepthook

    def print_others(error: threading.ExceptHookArgs) -> None:
        of_tensorboard = type(error.thread).__module__.startswith("tensorboard.")
        if not (of_tensorboard and issubclass(error.exc_type, OSError)):
            print_error(error)

    threading.excepthook = print_others
    try:
        yield
    finally:
        threading.excepthook = print_error


def _flush() -> None:
    """Flush what is printed; drop it if its reader, such as `head`, has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes again when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
