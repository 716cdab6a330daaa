"""The figures of the paper's study, from what its runs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.cluster import KMeans

from representation.probes.pictures import DARK, LIGHT
from vtenv import CONNECTOR_NAMES

PAPER_BEST = 0.953
"""Accuracy of the paper's visuotactile ResNet-50, which started from ImageNet weights."""

_SENSES = {"vision": "#6aa5d8", "touch": "#e2a35f", "vision + touch": "#4c9f70"}


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95% interval of a proportion.

    Source: Wilson 1927.
    """
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return interval.low, interval.high


def accuracy_figure(groups: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> Figure:
    """The paper's figure 7: accuracy on held-out grasps by network and senses.

    Args:
        groups: By group of bars, by senses: counts of true by predicted class, (4, 4).
    """
    figure = Figure(figsize=(1.7 * len(groups) + 1.5, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.27
    for place, bars in enumerate(groups.values()):
        shown = [senses for senses in _SENSES if senses in bars]
        for k, senses in enumerate(shown):
            counts = bars[senses]
            right, total = int(np.trace(counts)), int(counts.sum())
            low, high = wilson(right, total)
            x = place + (k - (len(shown) - 1) / 2) * width
            share = right / total
            axes.bar(x, share, 0.92 * width, color=_SENSES[senses])
            error = [[max(share - low, 0.0)], [max(high - share, 0.0)]]
            axes.errorbar(x, share, error, color="black", linewidth=1, capsize=2)
            axes.text(x, 0.03, f"{share:.1%}", ha="center", va="bottom", fontsize=7.5)
    axes.axhline(PAPER_BEST, color="black", linewidth=0.8, linestyle=":")
    right = len(groups) - 0.45
    axes.text(right, PAPER_BEST, " the paper's\n best, 95.3%", fontsize=7.5, va="center")
    axes.set_xlim(-0.55, len(groups) - 0.45)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.set_ylim(0.0, 1.05)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{tick:.0%}" for tick in np.linspace(0, 1, 6)])
    axes.set_ylabel("accuracy on held-out grasps")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=c, marker="s", linestyle="") for c in _SENSES.values()]
    figure.legend(handles, list(_SENSES), loc="outside upper center", ncols=3, frameon=False)
    return figure


def confusion_figure(counts: NDArray[np.int64], title: str) -> Figure:
    """The paper's figure 8: which connector is taken for which.

    Args:
        counts: Counts of true by predicted class, (4, 4).
        title: What made them.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if shares[row, column] > 0.6 else "black"
        text = f"{shares[row, column]:.1%}\n{count}"
        axes.text(column, row, text, ha="center", va="center", color=ink)
    ticks = range(len(counts))
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
    handles = [Line2D([], [], color=c, marker="o", linestyle="") for c in DARK]
    handles.append(Line2D([], [], color="#bbbbbb", marker="o", linestyle=""))
    labels = [*CONNECTOR_NAMES, "lighter: vision, darker: touch"]
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
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
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.0))
    ax = left.subplots()
    ax.scatter(*places.T, c=[DARK[c] for c in connector], s=7, linewidths=0)
    ax.set(xticks=[], yticks=[])
    grid = right.subplots(clusters, samples)
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
    handles = [Line2D([], [], color=c, marker="o", linestyle="") for c in DARK]
    figure.legend(
        handles, CONNECTOR_NAMES, loc="outside lower center", ncols=len(DARK), frameon=False
    )
    return figure
