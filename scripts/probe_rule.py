"""Which probe predicts which track: rank correlations over encoders, and the gate's rule drawn.

    uv run python scripts/probe_rule.py docs/results/study/probes.csv docs/results/study/contact \
        docs/results/study/nominal --output docs/images/study-probes.png

Success is that of the policies on an encoder, a mean over their seeds and over connectors. The rule
is that what counts is the worst that an encoder knows: its largest error near contact as a multiple
of the bound that the gate of `vtinsert probe` has for it. Correlations are of whole encoders; their
halves are drawn as crosses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from policies.ablation.folder import EPISODES_FILE, Ablation, episodes_table, iter_episodes
from policies.ablation.grid import method_name
from policies.representation_names import split_part
from vtenv.atomic_write import atomic_write
from vtenv.run_folder import iter_table

Floats = NDArray[np.float64]

_WORST = "worst, of its bound"
_DRAWS = 2000


def probe_errors(path: Path) -> dict[str, dict[str, float]]:
    """What encoders do not know near contact, by name and variable.

    Mean absolute errors of probes fitted there, the part of connectors not told, and the largest
    error as a multiple of its bound.
    """
    columns = ("encoder", "subject", "part", "measure", "variable", "fitted_on", "region", "value")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for _, row in iter_table(path, (*columns, "bound")):
        if not row["region"] == row["fitted_on"] == "near" or row["subject"] != "encoder":
            continue
        fused = row["part"] == "fused"
        errors = found[row["encoder"] if fused else f"{row['encoder']}:{row['part']}"]
        value = float(row["value"])
        if row["measure"] == "accuracy":
            errors["connector not told"] = 1.0 - value
        elif row["measure"] == "error":
            errors[row["variable"]] = value
            if row["bound"]:
                errors[_WORST] = max(errors.get(_WORST, 0.0), value / float(row["bound"]))
    return found


def success_rates(folder: Path) -> dict[str, dict[str, float]]:
    """Success on each encoder of an ablation, by the way to train: "dagger", "ppo-warm"."""
    path = episodes_table(folder) or folder / EPISODES_FILE
    played: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    columns = ("representation", "algorithm", "start", "connector")
    for _, row, success in iter_episodes(path, columns):
        method = method_name(row["algorithm"], row["start"])
        played[method, row["representation"]][row["connector"]].append(success)
    rates: dict[str, dict[str, float]] = defaultdict(dict)
    for (method, name), connectors in played.items():
        rates[method][name] = float(np.mean([np.mean(each) for each in connectors.values()]))
    return rates


def rank_correlation(
    errors: Floats, rates: Floats, groups: Sequence[str]
) -> tuple[float, float, float]:
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


def main(
    probes: Path,
    studies: list[Path],
    /,
    output: Path = Path("probe-rule.png"),
    without: tuple[str, ...] = (),
) -> None:
    """Print a table of correlations, and draw success against the worst error.

    Args:
        probes: Measurements of `vtinsert probe`, of all encoders in one table.
        studies: Folders of ablations, one a track.
        output: Where the picture goes.
        without: Representations that correlations leave out.
    """
    known = probe_errors(probes)
    drawn = [(f, m, rates) for f in studies for m, rates in success_rates(f).items()]
    figure = Figure((3.6 * len(drawn) + 3.6, 4), layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    styled: dict[str, int] = {}
    print("| Track | Probe | Spearman | 95% | Encoders |\n|---|---|---:|---|---:|")
    for panel, (folder, method, rates_of) in zip(panels, drawn, strict=True):
        groups_of = Ablation(folder).read_grid().trained_on
        names = [n for n in rates_of if _WORST in known.get(n, {})]
        rates, groups = np.array([rates_of[n] for n in names]), [groups_of[n] for n in names]
        shared = set.intersection(*({*known[name]} for name in names))
        errors = {v: np.array([known[n][v] for n in names]) for v in shared}
        whole = np.array([not split_part(g)[1] and g not in without for g in groups])
        kinds = [group for group, counts in zip(groups, whole, strict=True) if counts]
        found = {
            v: rank_correlation(error[whole], rates[whole], kinds) for v, error in errors.items()
        }
        for variable in sorted(found, key=lambda v: found[v][0]):
            value, low, high = found[variable]
            where, interval = f"{folder.name}, {method}", f"{low:.2f} to {high:.2f}"
            print(f"| {where} | {variable} | {value:.2f} | {interval} | {whole.sum()} |")
        for name in dict.fromkeys(groups):
            number, of = styled.setdefault(name, len(styled)), np.array(groups) == name
            marker = "x" if split_part(name)[1] else "osD^v"[number // 10]
            color = f"C{number % 10}"
            panel.plot(errors[_WORST][of], 100 * rates[of], marker, color=color, label=name)
        title = f"{folder.name}, {method}\nrank correlation {found[_WORST][0]:.2f}"
        panel.set(xscale="log", title=title, xlabel="largest error over its bound")
        panel.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        panel.set_xlim(left=0.9)
        panel.axvline(1.0, color="0.5", linewidth=1)
        panel.minorticks_off()
        panel.grid(alpha=0.2)
    panels[0].set_ylabel("success of policies (%)")
    handles = {h.get_label(): h for p in panels for h in p.get_legend_handles_labels()[0]}
    columns = 1 + (len(handles) - 1) // 14  # so many fit beside panels
    shown = list(handles.values())
    figure.legend(handles=shown, loc="outside right center", frameon=False, ncols=columns)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, dpi=120, format=output.suffix[1:])


if __name__ == "__main__":
    tyro.cli(main)
