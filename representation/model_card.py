"""The page beside an encoder's weights that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from representation.encoder_files import CONFIG_FILE, FORMAT

CARD_FILE = "README.md"


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
    lines = [
        "---",
        "library_name: vtinsert",
        f"license: {license_name}",
        "pipeline_tag: feature-extraction",
        "tags: [robotics, timm, visuotactile]",
        "---",
        "",
        f"# {name}",
        "",
        "A visuotactile encoder of VTInsert: an overhead depth image and GelSight contact masks to "
        "one embedding.",
        "",
        "```python",
        "from representation import VisuotactileEncoder",
        "",
        f'encoder = VisuotactileEncoder.from_pretrained("{name}")',
        "```",
        "",
        *_table("How it was made", facts),
        "The command that makes it again:",
        "",
        "```bash",
        command,
        "```",
        "",
        *_table("Metrics", metrics),
        *_table(
            "Configuration",
            {
                name: f"`{json.dumps(value)}`"
                for name, value in config.items()
                if config.get("format") == FORMAT and name not in ("format", "version")
            },
        ),
    ]
    if notes:
        lines += ["## Notes", "", notes, ""]
    card = folder / CARD_FILE
    card.write_text("\n".join(lines), encoding="utf-8")
    return card


def _table(title: str, rows: Mapping[str, object]) -> list[str]:
    cells = [
        f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items() if value not in ("",)
    ]
    return [f"## {title}", "", "| | |", "|---|---|", *cells, ""]


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
