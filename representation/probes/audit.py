"""The information audit: which part of an embedding holds which variable."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, silhouette_score
from torch import Tensor, nn

from representation.encoder_config import EncoderConfig
from representation.probes.classes import ClassProbe
from representation.probes.clusters import cluster_agreement
from representation.probes.embed import (
    Embedded,
    Embedder,
    Progress,
    embed_rows,
    encoder_embedder,
    pixel_embedder,
    untrained,
)
from representation.probes.intervals import Estimate, episode_means
from representation.probes.linear import Standardiser, fit_probe
from representation.probes.measurements import (
    ACCURACY,
    ALIGNMENT,
    ALL,
    CAPTURE_RANGE,
    CHANCE,
    CONFUSION,
    ENCODER,
    ERROR,
    FUSED,
    MEAN,
    NMI,
    PIXELS,
    POOL,
    RECALL,
    SILHOUETTE,
    UNIFORMITY,
    UNTRAINED,
    Measurement,
)
from representation.probes.report import AuditReport, Point
from representation.probes.retrieval import RANKS, pooled_recall
from representation.probes.shared_space import (
    MAPPED,
    PROJECTED,
    alignment,
    project,
    projection_heads,
    ridge_map,
    uniformity,
)
from representation.probes.split import ProbeError, SplitLike, choose_rows
from representation.probes.targets import CLASS, EPISODE, POSE, REGION, ProbeTargets
from representation.probes.tsne import tsne
from representation.probes.variables import PoseVariables, unit
from representation.timm_encoder import VisuotactileEncoder

LARGEST_POOL = 1000
"""Moments among which a partner is sought, if there are as many."""

_PAIR = ("vision", "touch")
"""The senses that are compared with each other."""
_VALIDATION_PART = 0.2
_MIN_FIT_ROWS = 200
_MIN_ROWS_BY_NUMBER = 4
"""Fewest training rows where it decides for probes of their own: so many, and so many for each
number of the embedding."""
_FEW_EPISODES = 500
"""Fewer training episodes than this are noted."""
_CLASS_ROWS = 10_000
"""Most training rows that a class probe is fitted on: it iterates over them."""
_CLUSTERED_ROWS = 2000
_BATCH_SIZE = 64
_DEVICE_BATCH_SIZE = 512


def audit(
    encoder: VisuotactileEncoder | None,
    train: SplitLike,
    heldout: SplitLike,
    targets: ProbeTargets,
    *,
    name: str = "encoder",
    objective: nn.Module | None = None,
    baselines: bool = True,
    rows: int = 20_000,
    seed: int = 0,
    device: str | torch.device | None = None,
    batch_size: int | None = None,
    pictures: int = 640,
    progress: Progress | None = None,
) -> AuditReport:
    """Measure what an encoder knows.

    Probes are fitted on rows of `train` and measured on rows of `heldout`. Splits have the columns
    that the encoder perceives with, such as `depth`; `pose`; and, for what is measured with them,
    `connector`, `episode` and `region`.

    Args:
        encoder: The encoder, which is left as it is; None for the baselines alone.
        train: Rows to fit probes on.
        heldout: Rows of other episodes to measure them on.
        targets: What to ask of them.
        name: What the report calls the encoder.
        objective: What it was trained with; its projection heads, if any, lead to the space in
            which vision and touch are compared.
        baselines: Whether to probe raw pixels and an untrained encoder of the same configuration
            too.
        rows: Most training rows; of the held-out ones, half as many.
        seed: Seed of all that is drawn.
        device: Where networks run; None for where the encoder is.
        batch_size: Rows that are embedded at once; None for 64 on a CPU, and 512 elsewhere.
        pictures: Held-out moments in the t-SNE pictures; 0 for none.
        progress: Told what is done and how far it is.

    Returns:
        The report.

    Raises:
        ProbeError: If a split lacks images or labels, or has too few rows.
        ValueError: If the images do not have the encoder's sizes; says both.
    """
    if encoder is None and not baselines:
        raise ProbeError("there is nothing to probe: give an encoder, or baselines=True")
    config = EncoderConfig() if encoder is None else encoder.config
    senses = _senses(encoder, train)
    keys = [key for of in senses.values() for key in of]
    for split, title in ((train, "training"), (heldout, "held-out")):
        _require_columns(split, title, keys)
    if device is None:
        parameter = None if encoder is None else next(encoder.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
    device = torch.device(device)

    generator = np.random.default_rng(seed)
    fitted = _Rows.of(train, rows, targets, generator)
    held = _Rows.of(heldout, max(rows // 2, 1), targets, generator)
    size = 0 if encoder is None else encoder.embedding_size
    session = _Session(fitted, held, targets, name, size, seed, generator, progress)

    embedders: dict[str, Embedder] = {}
    if encoder is not None:
        embedders[ENCODER] = encoder_embedder(_prepared(copy.deepcopy(encoder), device))
    if baselines:
        if encoder is not None:
            embedders[UNTRAINED] = encoder_embedder(_prepared(untrained(config, seed), device))
        embedders[PIXELS] = pixel_embedder(senses, config.ranges)
    if batch_size is None:
        batch_size = _BATCH_SIZE if device.type == "cpu" else _DEVICE_BATCH_SIZE
    with session.timed("embedding"):
        fitted_vectors, held_vectors = (
            embed_rows(
                embedders,
                of.split,
                of.numbers,
                keys=keys,
                device=device,
                batch_size=batch_size,
                progress=progress,
                stage=stage,
            )
            for of, stage in ((fitted, "Embedding, to fit"), (held, "Embedding, held out"))
        )
    session.guess()
    for subject in embedders:
        vectors, others = fitted_vectors.pop(subject), held_vectors.pop(subject)
        session.probe_pose(subject, vectors, others)
        session.probe_class(subject, vectors, others)
        if subject == ENCODER:
            session.compare(vectors, others, objective, pictures)
    session.add_capture_range()
    return AuditReport(
        name=name if encoder is not None else "no encoder",
        config={} if encoder is None else dataclasses.asdict(config),
        senses=tuple(senses),
        embedding_size=size,
        variables=session.variables.names,
        circular=session.variables.circular_names,
        classes=session.classes,
        regions=session.titles,
        bounds=session.bounds,
        seed=seed,
        train_rows=fitted.counts(),
        heldout_rows=held.counts(),
        train_episodes=len(np.unique(fitted.episode)),
        heldout_episodes=len(np.unique(held.episode)),
        shared_space=session.shared_space,
        measurements=tuple(session.measurements),
        points=tuple(session.points),
        notes=tuple(dict.fromkeys(session.notes)),
        seconds={stage: round(value, 2) for stage, value in session.seconds.items()},
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of a split, and all that is known of them but their images.

    Attributes:
        split: Where they are.
        numbers: Which they are, (N,).
        pose: Labels, (N, L).
        classes: Class of each, (N,); None if unknown.
        episode: Episode of each, (N,); the row itself if unknown.
        regions: Masks by region, (N,): those that the split has columns of, and all rows.
    """

    split: SplitLike
    numbers: NDArray[np.int64]
    pose: NDArray[np.float32]
    classes: NDArray[np.int64] | None
    episode: NDArray[np.int64]
    regions: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(
        cls, split: SplitLike, limit: int, targets: ProbeTargets, generator: np.random.Generator
    ) -> _Rows:
        numbers = choose_rows(len(split), limit, generator)
        wanted = (POSE, CLASS, EPISODE, REGION)
        read = split.read(numbers, [name for name in wanted if name in split.columns])
        columns = {name: _to_numpy(value) for name, value in read.items()}
        if columns[POSE].shape[1] != len(targets.variables):
            raise ProbeError(
                f"the data's pose has {columns[POSE].shape[1]} columns, but "
                f"{len(targets.variables)} labels are given: {', '.join(targets.variables)}"
            )
        regions = _region_masks(columns.get(REGION), targets.regions)
        regions[ALL] = np.ones(len(numbers), bool)
        episode = columns.get(EPISODE, numbers)
        return cls(split, numbers, columns[POSE], columns.get(CLASS), episode, regions)

    def counts(self) -> dict[str, int]:
        return {region: int(mask.sum()) for region, mask in self.regions.items()}


class _Session:
    """One audit on its way: the rows, and what has been found so far."""

    def __init__(
        self,
        fitted: _Rows,
        held: _Rows,
        targets: ProbeTargets,
        name: str,
        embedding_size: int,
        seed: int,
        generator: np.random.Generator,
        progress: Progress | None,
    ) -> None:
        self.fitted, self.held, self.targets = fitted, held, targets
        self.variables = PoseVariables.of(targets.variables, fitted.pose)
        self.classes = _class_names(fitted.classes, held.classes, targets.classes)
        self._classified = len(np.unique(fitted.classes)) > 1 if self.classes else False
        self.shared_space = ""
        self.measurements: list[Measurement] = []
        self.points: list[Point] = []
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self._name, self._seed, self._progress = name, seed, progress
        self._confused = ENCODER if embedding_size else PIXELS
        self._class_seed = int(generator.integers(1 << 32))  # so that all subjects get the same
        self._validation = _validation(fitted.episode, generator)
        self._generator = generator
        known = set(fitted.regions) & set(held.regions)
        names = [*targets.regions[1:], *targets.regions[:1]]
        self.titles = {name: name.replace("_", " ") for name in names if name in known}
        self.titles[ALL] = "all rows"
        self._decides = next(iter(self.titles))
        asked = set(targets.bounds) - {CLASS} <= set(targets.variables)
        self.bounds = dict(targets.bounds) if asked and self._decides != ALL else {}
        episodes = len(np.unique(fitted.episode))
        if episodes < _FEW_EPISODES:
            self.notes.append(
                f"The training rows are of {episodes} episodes only. What hardly changes during "
                "one is seen in few places, and its errors are too large."
            )
        self.fit_regions = [ALL]
        if self._decides != ALL:
            self._fit_where_it_decides(max(_MIN_FIT_ROWS, _MIN_ROWS_BY_NUMBER * embedding_size))
        else:
            self.notes.append("The data tell no regions apart: there are all rows alone.")

    def _fit_where_it_decides(self, fewest: int) -> None:
        title = self.titles[self._decides]
        count = int(self.fitted.regions[self._decides].sum())
        if not self.held.regions[self._decides].any():
            self.notes.append(f"There are no held-out rows {title}.")
        if count >= fewest:
            self.fit_regions.append(self._decides)
        else:
            self.notes.append(
                f"{count:,} training rows {title} are too few for probes of their own, "
                f"which need {fewest:,}: those fitted on all rows decide. Give more rows."
            )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def guess(self) -> None:
        """What guessing the mean, and the most frequent class, of the rows to fit on would do."""
        targets = self.variables.targets(self.fitted.pose)
        for region in self.fit_regions:
            mask = self.fitted.regions[region]
            guessed = targets[mask].mean(axis=0, keepdims=True)
            self._add_errors(MEAN, "", region, self.variables.errors(guessed, self.held.pose))
            if self.fitted.classes is not None and self._classified:
                frequent = np.bincount(self.fitted.classes[mask]).argmax()
                self._add_accuracy(MEAN, "", region, np.full(len(self.held.numbers), frequent))

    def probe_pose(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Linear probes of every pose variable, of every part."""
        targets = self.variables.targets(self.fitted.pose)
        with self.timed("linear probes"):
            for part, features in vectors.items():
                for region in self.fit_regions:
                    self._report(f"Linear probes of the {subject}")
                    rows = self.fitted.regions[region]
                    probe = fit_probe(features[rows], targets[rows], self._validation[rows])
                    errors = self.variables.errors(probe(held[part]), self.held.pose)
                    self._add_errors(subject, part, region, errors)

    def probe_class(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Class probes of every part."""
        classes = self.fitted.classes
        if classes is None or not self._classified:
            self.notes.append("The data has a single connector: the class is not probed.")
            return
        generator = np.random.default_rng(self._class_seed)
        chosen = {
            region: every[choose_rows(len(every), _CLASS_ROWS, generator)]
            for region in self.fit_regions
            for every in [np.flatnonzero(self.fitted.regions[region])]
        }
        with self.timed("class probes"):
            for part, features in vectors.items():
                for region, rows in chosen.items():
                    self._report(f"Class probes of the {subject}")
                    if len(np.unique(classes[rows])) < 2:
                        continue
                    probe = ClassProbe(features[rows], classes[rows])
                    note = "" if probe.converged else "at least: the fit did not converge"
                    self._add_accuracy(subject, part, region, probe.predict(held[part]), note)

    def compare(
        self, vectors: Embedded, held: Embedded, objective: nn.Module | None, pictures: int
    ) -> None:
        """Vision against touch in their shared space, and clusters against classes."""
        with self.timed("shared space"):
            shared = self._share(vectors, held, objective)
            if shared:
                self._retrieve(shared)
                self._spread(shared)
        with self.timed("clusters"):
            self._cluster(held, shared)
        with self.timed("t-SNE"):
            self._picture(held, shared, pictures)

    def add_capture_range(self) -> None:
        """The yardstick for errors."""
        for variable, value in self.targets.capture_range.items():
            if variable in self.variables.names:
                self._add("", CAPTURE_RANGE, value, variable=variable, unit=unit(variable))

    def _report(self, stage: str) -> None:
        if self._progress is not None:
            self._progress(stage, 0, 0)

    def _add(self, subject: str, measure: str, value: float, **columns: Any) -> None:
        self.measurements.append(Measurement(self._name, subject, measure, float(value), **columns))

    def _add_errors(
        self, subject: str, part: str, fitted_on: str, errors: NDArray[np.float64]
    ) -> None:
        for region, mask in self._measured(fitted_on):
            estimates = episode_means(errors[mask], self.held.episode[mask], self._seed)
            for variable, estimate in zip(self.variables.names, estimates, strict=True):
                self._add_estimate(subject, ERROR, part, variable, fitted_on, region, estimate)

    def _add_accuracy(
        self, subject: str, part: str, fitted_on: str, predicted: NDArray[np.int64], note: str = ""
    ) -> None:
        actual = self.held.classes
        assert actual is not None
        right = (actual == predicted).astype(np.float64)[:, None]
        for region, mask in self._measured(fitted_on):
            (estimate,) = episode_means(right[mask], self.held.episode[mask], self._seed)
            self._add_estimate(subject, ACCURACY, part, CLASS, fitted_on, region, estimate, note)
            if part == FUSED and subject == self._confused:
                self._add_confusion(subject, fitted_on, region, actual[mask], predicted[mask])

    def _add_estimate(
        self,
        subject: str,
        measure: str,
        part: str,
        variable: str,
        fitted_on: str,
        region: str,
        estimate: Estimate,
        note: str = "",
    ) -> None:
        self._add(
            subject,
            measure,
            **dataclasses.asdict(estimate),
            part=part,
            variable=variable,
            fitted_on=fitted_on,
            region=region,
            unit=unit(variable),
            bound=self.bounds.get(variable) if region == self._decides else None,
            note=note,
        )

    def _add_confusion(
        self,
        subject: str,
        fitted_on: str,
        region: str,
        actual: NDArray[np.int64],
        predicted: NDArray[np.int64],
    ) -> None:
        codes = range(len(self.classes))
        for (i, j), count in np.ndenumerate(confusion_matrix(actual, predicted, labels=codes)):
            self._add(
                subject,
                CONFUSION,
                count,
                part=FUSED,
                variable=self.classes[i],
                against=self.classes[j],
                fitted_on=fitted_on,
                region=region,
                unit="rows",
            )

    def _measured(self, fitted_on: str) -> list[tuple[str, NDArray[np.bool_]]]:
        """Regions with rows; for a probe that was fitted on a region, only those within."""
        around = self.held.regions[fitted_on]
        masks = {region: self.held.regions[region] for region in self.titles}
        return [(r, mask) for r, mask in masks.items() if mask.any() and (mask <= around).all()]

    def _share(self, vectors: Embedded, held: Embedded, objective: nn.Module | None) -> Embedded:
        """Held-out unit vectors of both senses in one space; empty for a single sense."""
        if not set(_PAIR) <= set(held):
            self.notes.append(
                "The encoder has a single sense: retrieval, alignment and uniformity need two and "
                "are left out."
            )
            return {}
        heads = None if objective is None else projection_heads(objective)
        if heads is not None:
            self.shared_space = PROJECTED
            return project(heads, held)
        self.shared_space = MAPPED.format(*_PAIR)
        return ridge_map(vectors, held, _PAIR, self._validation)

    def _retrieve(self, shared: Embedded) -> None:
        for region in dict.fromkeys((ALL, self._decides)):
            rows = np.flatnonzero(self.held.regions[region])
            pool = min(LARGEST_POOL, len(rows))
            if pool <= max(RANKS):
                self.notes.append(f"{len(rows)} held-out rows ({region}) are too few to retrieve.")
                continue
            order = self._generator.permutation(rows)
            for query, key in (_PAIR, _PAIR[::-1]):
                recall = pooled_recall(shared[query], shared[key], RANKS, pool, order)
                of = {"part": query, "against": key, "region": region}
                used = len(rows) // pool * pool
                for rank, value in recall.items():
                    self._add(ENCODER, RECALL.format(rank), value, **of, rows=used)
                    self._add(ENCODER, CHANCE.format(rank), rank / pool, **of)
                self._add(ENCODER, POOL, pool, **of, unit="rows")

    def _spread(self, shared: Embedded) -> None:
        vision, touch = _PAIR
        value = alignment(shared[vision], shared[touch])
        self._add(ENCODER, ALIGNMENT, value, part=vision, against=touch, region=ALL)
        sample = self._sample(_CLUSTERED_ROWS)
        for sense in _PAIR:
            value = uniformity(shared[sense][sample])
            self._add(ENCODER, UNIFORMITY, value, part=sense, region=ALL, rows=len(sample))

    def _sample(self, limit: int) -> NDArray[np.int64]:
        return choose_rows(len(self.held.numbers), limit, self._generator)

    def _cluster(self, held: Embedded, shared: Embedded) -> None:
        if not self.classes or self.held.classes is None:
            return
        sample = self._sample(_CLUSTERED_ROWS)
        classes = self.held.classes[sample]
        if len(np.unique(classes)) < 2:
            return
        spaces = {part: _standardised(value) for part, value in held.items()}
        spaces |= {f"shared {part}": value for part, value in shared.items()}
        for part, value in spaces.items():
            self._report("Clusters")
            points = value[sample]
            agreement = cluster_agreement(points, classes, self._seed)
            of = {"part": part, "variable": CLASS, "region": ALL, "rows": len(sample)}
            self._add(ENCODER, SILHOUETTE, silhouette_score(points, classes), **of)
            self._add(ENCODER, NMI, agreement, **of)

    def _picture(self, held: Embedded, shared: Embedded, pictures: int) -> None:
        sample = self._sample(pictures)
        if len(sample) < 4:
            return
        spaces = {"shared": shared} if shared else {}
        spaces[FUSED] = {FUSED: _standardised(held[FUSED])}
        classes = self.held.classes if self.classes else None
        names = (
            [""] * len(sample) if classes is None else [self.classes[c] for c in classes[sample]]
        )
        rows = self.held.numbers[sample].tolist()
        for space, parts in spaces.items():
            self._report("t-SNE")
            places = tsne(np.concatenate([p[sample] for p in parts.values()]), self._seed)
            for part, of in zip(parts, np.split(places, len(parts)), strict=True):
                self.points += [
                    Point(space, part, name, row, round(float(x), 3), round(float(y), 3))
                    for name, row, (x, y) in zip(names, rows, of, strict=True)
                ]


def _senses(encoder: VisuotactileEncoder | None, split: SplitLike) -> dict[str, tuple[str, ...]]:
    """Observation keys of each sense."""
    if encoder is not None:
        return encoder.config.senses
    of = EncoderConfig().senses
    found = {sense: keys for sense, keys in of.items() if set(keys) <= set(split.columns)}
    if not found:
        known = ", ".join(key for keys in of.values() for key in keys)
        raise ProbeError(f"the data has none of {known}: there is nothing to probe")
    return found


def _region_masks(
    codes: NDArray[np.int64] | None, names: Sequence[str]
) -> dict[str, NDArray[np.bool_]]:
    """Rows of each region: one within the other, and those elsewhere."""
    if codes is None or not names:
        return {}
    masks = {name: codes >= number for number, name in enumerate(names[1:], start=1)}
    return masks | {names[0]: codes == 0}


def _require_columns(split: SplitLike, title: str, keys: Sequence[str]) -> None:
    found = ", ".join(split.columns)
    if not len(split):
        raise ProbeError(f"the {title} split has no rows")
    for key in keys:
        if key not in split.columns:
            raise ProbeError(
                f"the {title} split has no {key!r}, which the encoder reads; it has {found}"
            )
    if POSE not in split.columns:
        raise ProbeError(
            f"the {title} split has no pose labels to probe for; it has {found}. Data sets that "
            "`vtinsert dataset` makes have them"
        )


def _class_names(
    fitted: NDArray[np.int64] | None, held: NDArray[np.int64] | None, named: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of the classes, by number; none where the classes of the rows are unknown."""
    if fitted is None or held is None:
        return ()
    count = int(max(fitted.max(), held.max())) + 1
    if named and count > len(named):
        raise ProbeError(
            f"a row is of class {count - 1}, but the data set names {len(named)}: "
            f"{', '.join(named)}"
        )
    return named or tuple(map(str, range(count)))


def _validation(episodes: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Rows that choose penalties: a fifth of the episodes."""
    every = np.unique(episodes)
    chosen = generator.permutation(every)[: round(_VALIDATION_PART * len(every))]
    return np.isin(episodes, chosen)


def _prepared(encoder: VisuotactileEncoder, device: torch.device) -> VisuotactileEncoder:
    """Ready to embed many rows: channels last takes half the time of small convolutions."""
    moved: VisuotactileEncoder = encoder.to(device=device).to(memory_format=torch.channels_last)
    return moved.eval()


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return Standardiser.of(values)(values).astype(np.float32)


def _to_numpy(value: Any) -> NDArray[Any]:
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
