"""Which probe predicts which track: rank correlations over encoders, and a rule for new ones.

    uv run python scripts/probe_rule.py docs/results/study/probes.csv docs/results/study/contact \
        docs/results/study/nominal --output docs/images/study-probes.png

Success is that of the policies on an encoder, a mean over their seeds and over connectors. The
rule is tested on encoders that it has not seen: for each representation in turn, the variable that
ranks all the others best is taken, and a line fitted through their success over its logarithm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import linregress, spearmanr

from policies.ablation.folder import EPISODES_FILE, Ablation, iter_episodes
from policies.representation_names import split_part
from vtenv.atomic_write import atomic_write
from vtenv.run_folder import iter_table

Floats = NDArray[np.float64]
Errors = Mapping[str, Mapping[str, float]]
"""Errors of probes near contact by variable, by the name that an ablation has for the encoder."""

_WORST = "worst, of its bound"
"""The largest error as a multiple of its bound: what the gate of `vtinsert probe` looks at."""
_DRAWS = 2000


def probe_errors(path: Path) -> Errors:
    """Mean absolute errors near contact, of probes fitted there, and the worst over its bound."""
    columns = ("encoder", "subject", "part", "measure", "variable", "fitted_on", "region", "value")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for _, row in iter_table(path, columns):
        near = row["region"] == row["fitted_on"] == "near" and row["subject"] == "encoder"
        if not near or row["measure"] not in ("error", "accuracy"):
            continue
        name = row["encoder"] if row["part"] == "fused" else f"{row['encoder']}:{row['part']}"
        value = float(row["value"])
        if row["measure"] == "accuracy":
            found[name]["connector not told"] = max(1.0 - value, 1e-4)
            continue
        found[name][row["variable"]] = value
        if row.get("bound"):
            ratio = value / float(row["bound"])
            found[name][_WORST] = max(ratio, found[name].get(_WORST, 0.0))
    return found


def success_rates(folder: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Success on each encoder of an ablation, and the representation that each is a seed of."""
    ablation = Ablation(folder)
    path = next(p for p in (folder / EPISODES_FILE, folder / f"{EPISODES_FILE}.gz") if p.is_file())
    played: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for _, row, success in iter_episodes(path, ("representation", "connector")):
        played[row["representation"]][row["connector"]].append(success)
    rates = {
        name: float(np.mean([np.mean(each) for each in connectors.values()]))
        for name, connectors in played.items()
    }
    return rates, ablation.read_grid().trained_on


def ranked(
    errors: Floats, rates: Floats, groups: Sequence[str], seed: int = 0
) -> tuple[float, ...]:
    """Spearman's correlation with its 95% interval over draws of representations."""
    names, rng = np.array(groups), np.random.default_rng(0)
    members = {name: np.flatnonzero(names == name) for name in dict.fromkeys(groups)}
    drawn = []
    for _ in range(_DRAWS):
        chosen = rng.choice(list(members), len(members))
        rows = np.concatenate([members[name] for name in chosen])
        if len(np.unique(errors[rows])) > 1 < len(np.unique(rates[rows])):
            drawn.append(spearmanr(errors[rows], rates[rows]).statistic)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(spearmanr(errors, rates).statistic), float(low), float(high)


def held_out(
    errors: Mapping[str, Floats], rates: Floats, groups: Sequence[str]
) -> tuple[Floats, list[str]]:
    """Success as predicted for each representation from all the others, and by which variable."""
    predicted, chosen, names = np.zeros(len(rates)), [], np.array(groups)
    for name in dict.fromkeys(groups):
        new = names == name
        strength = {v: spearmanr(e[~new], rates[~new]).statistic for v, e in errors.items()}
        best = min(strength, key=lambda v: float(np.nan_to_num(strength[v])))
        line = linregress(np.log(errors[best][~new]), rates[~new])
        guess = line.intercept + line.slope * np.log(errors[best][new])
        predicted[new] = np.clip(guess, 0.0, 1.0)
        chosen.append(best)
    return predicted, chosen


def main(probes: Path, studies: list[Path], /, output: Path = Path("probe-rule.png")) -> None:
    """Print the table of correlations and the rule's test, and draw the best variable of a track.

    Args:
        probes: Measurements of `vtinsert probe`, of all encoders in one table.
        studies: Folders of ablations, one a track.
        output: Where the picture goes.
    """
    known = probe_errors(probes)
    figure = Figure((4.4 * len(studies), 4.2), layout="constrained")
    panels = figure.subplots(1, len(studies), sharey=True, squeeze=False)[0]
    print("| Track | Probe | Spearman | 95% | Encoders |\n|---|---|---:|---|---:|")
    for panel, folder in zip(panels, studies, strict=True):
        rates_of, groups_of = success_rates(folder)
        names = [n for n in rates_of if n in known and _WORST in known[n] and n in groups_of]
        rates = np.array([rates_of[name] for name in names])
        groups = [groups_of[name] for name in names]
        shared = set.intersection(*({*known[name]} for name in names))
        errors = {v: np.array([known[n][v] for n in names]) for v in sorted(shared)}
        found = {v: ranked(e, rates, groups) for v, e in errors.items()}
        order = sorted(found, key=lambda v: found[v][0])
        for variable in order:
            value, low, high = found[variable]
            cells = (folder.name, variable, f"{value:.2f}", f"{low:.2f} to {high:.2f}")
            print(f"| {' | '.join(cells)} | {len(names)} |")
        predicted, chosen = held_out(errors, rates, groups)
        off, guess = np.abs(predicted - rates).mean(), np.abs(rates - rates.mean()).mean()
        print(
            f"\n{folder.name}: held out by representation, success is off by {100 * off:.1f} "
            f"points (guessing the mean: {100 * guess:.1f}); Spearman "
            f"{spearmanr(predicted, rates).statistic:.2f}; by {', '.join(sorted({*chosen}))}\n"
        )
        best = order[0]
        for name in dict.fromkeys(groups):
            of = np.array(groups) == name
            part = split_part(name)[1]
            panel.plot(errors[best][of], 100 * rates[of], "x" if part else "o", label=name)
        panel.set(xscale="log", xlabel=f"error of a linear probe: {best}", title=folder.name)
        panel.grid(alpha=0.2)
    panels[0].set_ylabel("success of policies (%)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right", frameon=False)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, dpi=120, format=output.suffix[1:])


if __name__ == "__main__":
    tyro.cli(main)
