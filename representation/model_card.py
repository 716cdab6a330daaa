"""The page beside an encoder's weights that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from representation.encoder_files import CONFIG_FILE

CARD_FILE = "README.md"

_PAGE = """\
---
library_name: vtinsert
license: {license}
pipeline_tag: feature-extraction
tags: [robotics, timm, visuotactile]
---

# {name}

A visuotactile encoder of VTInsert: images of the scene and of the fingertips to one embedding.

```python
from representation import VisuotactileEncoder

encoder = VisuotactileEncoder.from_pretrained("{name}")
```

## How it was made

{made}

The command that makes it again:

```bash
{command}
```

## Metrics

{metrics}

## Configuration

{configuration}
"""


def write_card(
    path: str | Path,
    *,
    data: str,
    objective: str,
    command: str,
    commit: str,
    metrics: Mapping[str, float | str],
    hardware: str = "",
    seed: int | None = None,
    license_name: str = "mit",
    notes: str = "",
    name: str = "",
) -> Path:
    """Write the model card of a saved encoder, in the format of the Hugging Face Hub.

    Args:
        path: Folder of the encoder, as `save_pretrained` left it.
        data: What it was trained on.
        objective: What it was trained for.
        command: The command that makes it again.
        commit: Commit of this repository that the command ran at.
        metrics: What was measured, unit in the name.
        hardware: What it was trained on.
        seed: The seed, if one was given.
        license_name: Licence of the weights, as the Hub names it.
        notes: Anything a user must know.
        name: What the encoder is called; the folder's name unless given.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If the folder holds no encoder.
    """
    folder = Path(path)
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG_FILE}: call encoder.save_pretrained({str(folder)!r}) first"
        )
    name = name or folder.resolve().name
    config: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    facts = {"Data": data, "Objective": objective, "Hardware": hardware, "Commit": f"`{commit}`"}
    if seed is not None:
        facts["Seed"] = str(seed)
    fields = {n: f"`{json.dumps(v)}`" for n, v in config.items() if n not in ("format", "version")}
    name = folder.resolve().name
    text = _PAGE.format(
        license=license_name,
        name=name,
        made=_table(facts),
        command=command,
        metrics=_table(metrics),
        configuration=_table(fields),
    )
    card = folder / CARD_FILE
    card.write_text(text + (f"\n## Notes\n\n{notes}\n" if notes else ""), encoding="utf-8")
    return card


def _table(rows: Mapping[str, object]) -> str:
    cells = (f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items() if value != "")
    return "\n".join(["| | |", "|---|---|", *cells])


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
