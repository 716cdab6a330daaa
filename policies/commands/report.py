"""`vtinsert report`: an ablation as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from policies.choices import default


def report(
    study: tyro.conf.Positional[Path],
    *,
    probes: Annotated[tuple[Path, ...], default("those in the ablation's folder `probes`")] = (),
) -> int:
    """Write an ablation's tables, curves and videos as one page.

    Writes `report.html`, a page that needs nothing beside it, `report.md`, its tables, and, once a
    policy is trained, `report.png`, success as a picture, into the ablation's folder. A grid that
    is not finished can be reported on too.

    Args:
        study: Folder of an ablation that `vtinsert ablate` made.
        probes: Reports of `vtinsert probe` on its encoders, or their folders.
    """
    if not study.is_dir():
        raise ValueError(f"{study} is not a folder; give that of an ablation")
    # Slow to import; the first less than the others.
    from policies.ablation.folder import Ablation

    Ablation(study).read_grid()  # says what is wrong with it

    from rich.console import Console

    from policies.report.compose import compose
    from policies.report.markdown import markdown
    from policies.report.overview import overview
    from policies.report.page import page
    from policies.report.tables import print_sections
    from vtenv.atomic_write import atomic_write, write_text

    content = compose(study, probes)
    written = {"report.html": page(content), "report.md": markdown(content)}
    names = [*written]
    try:
        for name, text in written.items():
            write_text(study / name, text)
        if any(section.runs for section in content.sections):
            names.append("report.png")
            picture = overview(content.sections, list(content.study.representations))
            with atomic_write(study / names[-1]) as path:
                picture.savefig(path, dpi=130)
    except OSError as error:
        raise OSError(f"cannot write to {study}: {error.strerror or error}") from None
    console = Console(highlight=False)
    console.print(content.lead)
    print_sections(console, content.sections)
    for note in content.notes:
        console.print(f"[yellow]{note}", soft_wrap=True)
    files = ", ".join(str(study / name) for name in names)
    console.print(f"Report: {files}", soft_wrap=True)
    return 0
