"""The figures of the paper's study, from what its runs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from representation.probes.pictures import DARK, LIGHT
from scripts.paper.results import Estimate
from vtenv import CONNECTOR_NAMES

PAPER_BEST = 0.953
"""Accuracy of the paper's visuotactile ResNet-50, which started from ImageNet weights."""

_CONNECTORS = dict(zip(CONNECTOR_NAMES, DARK, strict=False))
_SENSES = {"vision": "#6aa5d8", "touch": "#e2a35f", "vision + touch": "#4c9f70"}
COVERED = ("0%", "to 25%", "to 50%", "to 75%", "to 90%", "over 90%")


def accuracy_figure(groups: Mapping[str, Mapping[str, Estimate]]) -> Figure:
    """The paper's figure 7: accuracy on held-out grasps by network and senses.

    Args:
        groups: By group of bars, by senses: accuracy.
    """
    figure = Figure(figsize=(1.7 * len(groups) + 1.5, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.27
    for place, bars in enumerate(groups.values()):
        shown = [senses for senses in _SENSES if senses in bars]
        for k, senses in enumerate(shown):
            value, half = bars[senses]
            x = place + (k - (len(shown) - 1) / 2) * width
            axes.bar(x, value, 0.92 * width, color=_SENSES[senses])
            axes.errorbar(x, value, half, color="black", linewidth=1, capsize=2)
            axes.text(x, 0.03, f"{value:.1%}", ha="center", va="bottom", fontsize=7.5)
    axes.axhline(PAPER_BEST, color="black", linewidth=0.8, linestyle=":")
    right = len(groups) - 0.45
    axes.text(right, PAPER_BEST, " the paper's\n best, 95.3%", fontsize=7.5, va="center")
    axes.set_xlim(-0.55, right)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylim(0.0, 1.05)
    axes.set_ylabel("accuracy on held-out grasps")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, _SENSES, marker="s", loc="outside upper center", ncols=3)
    return figure


def occlusion_figure(panels: Mapping[str, Mapping[str, Sequence[Estimate]]]) -> Figure:
    """Accuracy against how much of the object is covered.

    Args:
        panels: By title, by label of a line: accuracy for each part of `results.BINS`.
    """
    labels = list(dict.fromkeys(label for lines in panels.values() for label in lines))
    colours = {label: _SENSES.get(label, f"C{k}") for k, label in enumerate(labels, start=1)}
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns + 0.6, 3.6 * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for number, (label, estimates) in enumerate(lines.items()):
            colour = colours[label]
            x = np.arange(len(estimates)) + 0.05 * (number - len(lines) / 2)
            values = [each.value for each in estimates]
            axes.plot(x, values, color=colour, marker="o", markersize=3)
            for place, (value, half) in zip(x, estimates, strict=True):
                axes.errorbar(place, value, half, color=colour, linewidth=1, capsize=2)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(len(COVERED)), COVERED)
        axes.set_xlabel("part of the object that is covered")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0.2, 1.02)
    _legend(figure, colours, ncols=3)
    figure.supylabel("accuracy on held-out grasps", fontsize=10)
    return figure


def loss_figure(losses: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Each step's loss, every run a line of its own.

    Args:
        losses: By title: (seeds, steps).
    """
    figure = Figure(figsize=(2.4 * len(losses) + 0.4, 2.8), layout="constrained")
    grid = figure.subplots(1, len(losses), sharey=True, squeeze=False)
    for axes, (title, rows) in zip(grid[0], losses.items(), strict=True):
        axes.plot(rows.T, linewidth=0.4)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylim(bottom=0.0)
    figure.axes[0].set_ylabel("loss")
    return figure


def confusion_figure(counts: Mapping[str, NDArray[np.int64]]) -> Figure:
    """The paper's figure 8: which connector is taken for which.

    Args:
        counts: By what made them: counts of true by predicted class, (4, 4).
    """
    figure = Figure(figsize=(4.2 * len(counts), 4.0), layout="constrained")
    for axes, (title, table) in zip(
        figure.subplots(1, len(counts), squeeze=False)[0], counts.items(), strict=True
    ):
        shares = table / table.sum(axis=1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        for (row, column), count in np.ndenumerate(table):
            ink = "white" if shares[row, column] > 0.6 else "black"
            text = f"{shares[row, column]:.1%}\n{count}"
            axes.text(column, row, text, ha="center", va="center", color=ink)
        ticks = range(len(table))
        axes.set_xticks(ticks, CONNECTOR_NAMES)
        axes.set_yticks(ticks, CONNECTOR_NAMES)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title(title, fontsize=10)
    return figure


def tsne_figure(
    panels: Sequence[Sequence[tuple[str, NDArray[np.float32], NDArray[np.int64]]]],
) -> Figure:
    """The paper's figure 9: the joint space of each network, without and with augmentation.

    Args:
        panels: Rows of panels: title; places, vision's first and then touch's, (2N, 2);
            connectors, (N,).
    """
    rows, columns = len(panels), len(panels[0])
    figure = Figure(figsize=(4.2 * columns, 4.2 * rows + 0.4), layout="constrained")
    for line, axes in zip(panels, figure.subplots(rows, columns, squeeze=False), strict=True):
        for (title, places, connector), ax in zip(line, axes, strict=True):
            half = len(connector)
            for shades, part in ((LIGHT, places[:half]), (DARK, places[half:])):
                ax.scatter(*part.T, c=[shades[c] for c in connector], s=7, linewidths=0)
            ax.set_title(title, fontsize=10)
            ax.set(xticks=[], yticks=[])
    colours = {**_CONNECTORS, "lighter: vision, darker: touch": "#bbbbbb"}
    _legend(figure, colours, ncols=5)
    return figure


def imprint_figure(
    places: NDArray[np.float32],
    connector: NDArray[np.int64],
    contact: NDArray[np.uint8],
    *,
    clusters: int = 6,
    samples: int = 5,
    seed: int = 0,
) -> Figure:
    """The paper's figure 10: imprints sampled from the clusters of a joint space.

    Args:
        places: Touch in the t-SNE of the joint space, (N, 2).
        connector: Connectors, (N,).
        contact: Contact masks, (N, 1, C, C).
        clusters: Clusters, by k-means in the plane; the largest are shown.
        samples: Imprints of each.
        seed: Of k-means and the draw.
    """
    means = KMeans(4 * clusters, n_init=4, random_state=seed).fit(places)
    found = np.bincount(means.labels_, minlength=4 * clusters)
    rng = np.random.default_rng(seed)
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    (left, right), *_ = figure.subfigures(1, 2, squeeze=False)
    ax = left.subplots()
    ax.scatter(*places.T, c=[DARK[c] for c in connector], s=7, linewidths=0)
    ax.set(xticks=[], yticks=[])
    grid = right.subplots(clusters, samples, squeeze=False)
    for number, cluster in enumerate(np.argsort(-found)[:clusters]):
        rows = np.flatnonzero(means.labels_ == cluster)
        centre = means.cluster_centers_[cluster]
        ax.text(*centre, str(number + 1), ha="center", va="center", fontsize=10, weight="bold")
        chosen = rng.choice(rows, min(samples, len(rows)), replace=False)
        for place, cell in enumerate(grid[number]):
            cell.set(xticks=[], yticks=[])
            if place >= len(chosen):
                cell.set_visible(False)
                continue
            cell.imshow(contact[chosen[place], 0], cmap="gray", vmin=0, vmax=1)
            cell.spines[:].set_color(DARK[connector[chosen[place]]])
            cell.spines[:].set_linewidth(2)
        grid[number, 0].set_ylabel(str(number + 1), rotation=0, labelpad=10, va="center")
    _legend(figure, _CONNECTORS, ncols=len(_CONNECTORS))
    return figure


def _legend(
    figure: Figure,
    colours: Mapping[str, str],
    *,
    ncols: int,
    marker: str = "o",
    loc: Any = "outside lower center",
) -> None:
    """Name the colours."""
    handles = [Line2D([], [], color=c, marker=marker, linestyle="") for c in colours.values()]
    figure.legend(handles, list(colours), loc=loc, ncols=ncols, frameon=False)
