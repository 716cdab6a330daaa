"""The page beside an encoder's weights that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from representation.encoder_files import CONFIG_FILE
from representation.probes.markdown import table
from representation.probes.measurements import Measurement, measurements_from
from representation.probes.tables import bound_of, cell
from representation.probes.variables import title

CARD_FILE, PROBES_FILE = "README.md", "probes.json"

_PAGE = """\
---
library_name: vtinsert
license: mit
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

{probes}## Configuration

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
    probes: Sequence[Measurement] = (),
    hardware: str = "",
    seed: int | None = None,
    name: str = "",
) -> Path:
    """Write the model card of a saved encoder, in the format of the Hugging Face Hub.

    Args:
        path: Folder of the encoder, as `save_pretrained` left it.
        data: What it was trained on.
        objective: What it was trained for.
        command: The command that makes it again.
        commit: Commit of this repository that the command ran at.
        metrics: What was measured in training, unit in the name.
        probes: What the encoder is probed to know, one region and part; also written beside the
            card as `probes.json`, which programs read.
        hardware: What it was trained on.
        seed: The seed, if one was given.
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
    answers = {_question(row): _answer(row) for row in probes}
    text = _PAGE.format(
        name=name,
        made=_table(facts),
        command=command,
        metrics=_table(metrics),
        probes=f"## Probes\n\n{_table(answers)}\n\n" if probes else "",
        configuration=_table(fields),
    )
    if probes:
        rows = json.dumps([row.to_dict() for row in probes], indent=1) + "\n"
        (folder / PROBES_FILE).write_text(rows, encoding="utf-8")
    card = folder / CARD_FILE
    card.write_text(text, encoding="utf-8")
    return card


def read_probes(folder: str | Path) -> tuple[Measurement, ...]:
    """What an encoder is probed to know, as it stands beside its card; empty for nothing.

    Raises:
        ValueError: If the file is not what `write_card` writes.
    """
    path = Path(folder) / PROBES_FILE
    if not path.is_file():
        return ()
    try:
        return measurements_from(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no measurements ({error}); copy it again") from error


def _question(row: Measurement) -> str:
    return f"{title(row.variable)}, {row.region.replace('_', ' ')}"


def _answer(row: Measurement) -> str:
    bound = bound_of(row)
    return f"{cell(row, interval=True)}{f', {bound}' if bound else ''}"


def _table(rows: Mapping[str, object]) -> str:
    texts = {n: f"{v:.4g}" if isinstance(v, float) else str(v) for n, v in rows.items()}
    return table(("", ""), [(name, text) for name, text in texts.items() if text])
