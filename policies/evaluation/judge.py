"""What is asked of whoever plays, judged before they are loaded, as that takes torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from policies.evaluation.conditions import Condition
from policies.policy_files import of_a_run, policy_folder, read_policy
from policies.representation_names import EXPERT, RANDOM, check_player, is_function
from policies.worlds import DEFAULT_TASK, require_variants, setting_names
from vtenv.import_string import import_string
from vtenv.registry import make_task


def trained_in(source: str, task: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """What somebody plays, and the settings they were trained with; without loading them.

    Args:
        source: Who, as `load_player` takes it.
        task: The task to play; None for that which a policy was trained on, or the default.

    Raises:
        ValueError: If there is nobody of that name; says what there is.
    """
    check_player(source)
    if is_function(source):
        import_function(source)
    if source in (EXPERT, RANDOM) or is_function(source):
        return task or DEFAULT_TASK, {}
    document = read_policy(policy_folder(of_a_run(source)))
    return task or document.task, document.settings


def import_function(source: str) -> Callable[[Any], Any]:
    """What is called NAME in a module, of "MODULE:NAME".

    Raises:
        ValueError: If there is no such thing, or it cannot be called.
    """
    function = import_string(source, "policy")
    if not callable(function):
        raise ValueError(f"{source!r} is a {type(function).__name__}, which cannot be called")
    found: Callable[[Any], Any] = function
    return found


def require_playable(
    condition: Condition, task: str, trained: Mapping[str, Any], variants: Collection[str] = ()
) -> None:
    """Check that a task can be put in a condition, and has its variants there.

    Args:
        condition: The condition.
        task: The task.
        trained: The settings that a policy was trained with.
        variants: Variants to play.

    Raises:
        ValueError, TypeError: If not; says what is allowed.
    """
    if lacking := sorted(set(condition.settings or ()) - set(setting_names(task))):
        raise ValueError(
            f"{task} cannot be put in the condition {condition.name!r}: it has no setting "
            f"{lacking[0]!r}; leave that condition out"
        )
    every = tuple(make_task(task).modalities)  # none of which has settings that are not allowed
    settings = condition.environment(every, trained)
    require_variants(make_task(task, modalities=every, **settings), variants)
