"""Fills a page with the docstring of the class that it documents; fits pictures to any screen."""

import importlib
import inspect
import re
import struct
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_MARKER = re.compile(r"^<!-- docstring of (?P<module>[\w.]+):(?P<name>\w+) -->$", re.MULTILINE)
_IMAGE = re.compile(r'<img (?P<before>[^>]*)src="(?P<source>[^"]+\.png)"(?P<after>[^>]*)>')
_FOLDER = Path(__file__).parent


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


def on_page_content(html: str, **_: Any) -> str:
    """Makes pictures links to themselves, which are never narrower than they can be read.

    Args:
        html: The page's content.

    Returns:
        The content with each picture in an element of the class `figure`.
    """
    return _IMAGE.sub(_figure, html)


def _figure(image: re.Match[str]) -> str:
    source = image["source"]
    with (_FOLDER / "images" / Path(source).name).open("rb") as file:
        width, _ = struct.unpack(">II", file.read(24)[16:])
    style = f'style="min-width: {min(width * 6 // 10, 960)}px; max-width: {width}px"'
    tag = f'<img {image["before"]}src="{source}" {style}{image["after"]}>'
    return f'<a class="figure" href="{source}">{tag}</a>'


def _docstring(marker: re.Match[str]) -> str:
    documented = getattr(importlib.import_module(marker["module"]), marker["name"])
    if not documented.__doc__:
        raise PluginError(f"{marker['module']}:{marker['name']} has no docstring to show")
    return inspect.cleandoc(documented.__doc__)
