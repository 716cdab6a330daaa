"""Fills a page with the docstring of the class it documents, so that the two cannot drift apart."""

import importlib
import inspect
import re
from typing import Any

from mkdocs.exceptions import PluginError

_MARKER = re.compile(r"^<!-- docstring of (?P<module>[\w.]+):(?P<name>\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces each `<!-- docstring of package.module:Class -->` line with that docstring.

    Args:
        markdown: The page's source.

    Returns:
        The page's source with the docstrings, which are Markdown, in place.

    Raises:
        PluginError: A named class has no docstring of its own.
    """
    return _MARKER.sub(_docstring, markdown)


def _docstring(marker: re.Match[str]) -> str:
    documented = getattr(importlib.import_module(marker["module"]), marker["name"])
    if not documented.__doc__:
        raise PluginError(f"{marker['module']}:{marker['name']} has no docstring to show")
    return inspect.cleandoc(documented.__doc__)
