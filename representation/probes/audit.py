"""The information audit: which part of an embedding holds which variable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, silhouette_score
from torch import nn

from representation.data.sources import Rows
from representation.encoder import Encoder
from representation.encoder_config import senses_of
from representation.preprocessing import Normalisation
from representation.probes import measurements as ms
from representation.probes import space
from representation.probes.embed import (
    Embedded,
    Embedder,
    Progress,
    embed_rows,
    encoder_embedder,
    pixel_embedder,
    untrained,
)
from representation.probes.intervals import episode_means
from representation.probes.linear import ClassProbe, RidgeProbe, Standardiser
from representation.probes.measurements import ALL, CLASS, ENCODER, FUSED, Measurement
from representation.probes.report import AuditReport, Point
from representation.probes.split import (
    POSE,
    LabelledRows,
    ProbeError,
    ProbeTargets,
    choose_rows,
)
from representation.probes.variables import PoseVariables, unit
from representation.timm_encoder import VisuotactileEncoder
from vtenv.modalities import IMAGE_MODALITIES

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
    encoder: Encoder,
    train: Rows,
    heldout: Rows,
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
    progress: Progress = lambda stage, done, total: None,
) -> AuditReport:
    """Measure what an encoder knows.

    Probes are fitted on rows of `train` and measured on rows of `heldout`. Splits have the columns
    that the encoder perceives with, such as `depth`; `pose`; and, for what is measured with them,
    `connector`, `episode` and `region`.

    Args:
        encoder: The encoder, which is left as it is. Of a `VisuotactileEncoder` the part of each
            sense is probed too, of any other `Encoder` the embedding alone.
        train: Rows to fit probes on.
        heldout: Rows of other episodes to measure them on.
        targets: What to ask of them.
        name: What the report calls the encoder.
        objective: What it was trained with; its projection heads, if any, lead to the space in
            which vision and touch are compared.
        baselines: Whether to probe raw pixels too, and beside a `VisuotactileEncoder` an untrained
            one of its configuration.
        rows: Most training rows; of the held-out ones, half as many.
        seed: Seed of all that is drawn.
        device: Where networks run; None for where the encoder is.
        batch_size: Rows that are embedded at once; None for 64 on a CPU, and 512 elsewhere.
        pictures: Held-out moments in the t-SNE pictures; 0 for none.
        progress: Told what is done and how far it is.

    Raises:
        ProbeError: If a split lacks images or labels, or has too few rows.
        ValueError: If the images do not have the encoder's sizes; says both.
    """
    for split, title in ((train, "training"), (heldout, "held-out")):
        _require_columns(split, title, encoder.keys)
    if device is None:
        parameter = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
        device = "cpu" if parameter is None else parameter.device
    device = torch.device(device)

    generator = np.random.default_rng(seed)
    fitted = LabelledRows.of(train, rows, targets, generator)
    held = LabelledRows.of(heldout, max(rows // 2, 1), targets, generator)
    study = _Study(fitted, held, targets, name, encoder.embedding_size, seed, generator)

    senses = senses_of(encoder.keys)
    embedders: dict[str, Embedder] = {ENCODER: encoder_embedder(encoder, device)}
    ranges: dict[str, Normalisation] = {**IMAGE_MODALITIES}
    if isinstance(encoder, VisuotactileEncoder):
        ranges |= encoder.config.ranges
        if baselines:
            embedders[ms.UNTRAINED] = encoder_embedder(untrained(encoder.config, seed), device)
    if baselines:
        embedders[ms.PIXELS] = pixel_embedder(senses, ranges)
    batch_size = batch_size or (_BATCH_SIZE if device.type == "cpu" else _DEVICE_BATCH_SIZE)
    fitted_vectors, held_vectors = (
        embed_rows(
            embedders,
            of.split,
            of.numbers,
            keys=encoder.keys,
            device=device,
            batch_size=batch_size,
            progress=partial(progress, stage),
        )
        for of, stage in ((fitted, "Embedding, to fit"), (held, "Embedding, held out"))
    )
    study.guess()
    for subject in embedders:
        progress(f"Linear probes of the {subject}", 0, 0)
        study.probe_pose(subject, fitted_vectors[subject], held_vectors[subject])
        progress(f"Class probes of the {subject}", 0, 0)
        study.probe_classes(subject, fitted_vectors[subject], held_vectors[subject])
    own = held_vectors[ENCODER]
    progress("Shared space and clusters", 0, 0)
    shared_space, shared = study.share(fitted_vectors[ENCODER], own, objective)
    study.compare_senses(shared)
    study.measure_clusters(own, shared)
    progress("t-SNE", 0, 0)
    points = tuple(study.points(own, shared, pictures))
    for variable, value in targets.capture_range.items():
        if variable in targets.variables:
            study.add("", ms.CAPTURE_RANGE, value, variable=variable, unit=unit(variable))
    return AuditReport(
        name=name,
        senses=tuple(senses),
        embedding_size=encoder.embedding_size,
        variables=study.variables.names,
        classes=study.classes,
        regions=study.regions,
        bounds=study.bounds,
        seed=seed,
        train_rows=fitted.counts(),
        heldout_rows=held.counts(),
        train_episodes=len(np.unique(fitted.episode)),
        heldout_episodes=len(np.unique(held.episode)),
        shared_space=shared_space,
        measurements=tuple(study.measurements),
        points=points,
        notes=tuple(dict.fromkeys(study.notes)),
    )


class _Study:
    """The rows of an audit, and the measurements that are made on them.

    Attributes:
        classes: Names of the classes, by number; empty where they are unknown.
        regions: Those to measure in, and what people call them; the first one decides.
        bounds: What an encoder should reach where it decides.
        measurements: What was measured; grows.
        notes: What is left out, and why; grows.
    """

    def __init__(
        self,
        fitted: LabelledRows,
        held: LabelledRows,
        targets: ProbeTargets,
        name: str,
        embedding_size: int,
        seed: int,
        generator: np.random.Generator,
    ) -> None:
        self._fitted, self._held, self._name = fitted, held, name
        self._seed, self._generator = seed, generator
        self.measurements: list[Measurement] = []
        self.notes: list[str] = []
        self.variables = PoseVariables.of(targets.variables, fitted.labels)
        self.classes = _class_names(fitted.classes, held.classes, targets.classes)
        self.regions = {
            region: region.replace("_", " ")
            for region in (*targets.regions[1:], *targets.regions[:1])
            if region in fitted.regions and region in held.regions
        } | {ALL: "all rows"}
        self._decides = next(iter(self.regions))
        asked = set(targets.bounds) - {CLASS} <= set(targets.variables) and self._decides != ALL
        self.bounds = dict(targets.bounds) if asked else {}
        class_generator = np.random.default_rng(int(generator.integers(1 << 32)))
        episodes = np.unique(fitted.episode)
        validating = generator.permutation(episodes)[: round(_VALIDATION_PART * len(episodes))]
        self._validation = np.isin(fitted.episode, validating)
        if len(episodes) < _FEW_EPISODES:
            self.notes.append(
                f"The training rows are of {len(episodes)} episodes only. What hardly changes "
                "during one is seen in few places, and its errors are too large."
            )
        # Training rows by the region that probes are fitted on; of class probes, as numbers.
        self._fit_rows = {ALL: fitted.regions[ALL]}
        if self._decides == ALL:
            self.notes.append("The data tell no regions apart: there are all rows alone.")
        else:
            self._fit_where_it_decides(max(_MIN_FIT_ROWS, _MIN_ROWS_BY_NUMBER * embedding_size))
        self._class_rows: dict[str, NDArray[np.int64]] = {}
        if fitted.classes is None or not self.classes or len(np.unique(fitted.classes)) < 2:
            self.notes.append("The data has a single connector: the class is not probed.")
            return
        for region, mask in self._fit_rows.items():
            every = np.flatnonzero(mask)
            self._class_rows[region] = every[choose_rows(len(every), _CLASS_ROWS, class_generator)]

    def _fit_where_it_decides(self, fewest: int) -> None:
        rows, title = self._fitted.regions[self._decides], self.regions[self._decides]
        if not self._held.regions[self._decides].any():
            self.notes.append(f"There are no held-out rows {title}.")
        if rows.sum() >= fewest:
            self._fit_rows[self._decides] = rows
        else:
            self.notes.append(
                f"{rows.sum():,} training rows {title} are too few for probes of their own, which "
                f"need {fewest:,}: those fitted on all rows decide. Give more rows."
            )

    def add(self, subject: str, measure: str, value: float, **columns: Any) -> None:
        """Add a row to the measurements."""
        row = Measurement(self._name, subject, measure, float(value), **columns)
        self.measurements.append(row)

    def guess(self) -> None:
        """What guessing the mean, and the most frequent class, of the rows to fit on would do."""
        targets = self.variables.targets(self._fitted.labels)
        for region, mask in self._fit_rows.items():
            self._add_errors(ms.MEAN, "", region, targets[mask].mean(axis=0, keepdims=True))
            if self._class_rows and self._fitted.classes is not None:
                frequent = np.bincount(self._fitted.classes[mask]).argmax()
                predicted = np.full(len(self._held.numbers), frequent)
                self._add_accuracy(ms.MEAN, "", region, predicted)

    def probe_pose(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Linear probes of every pose variable, of every part."""
        targets = self.variables.targets(self._fitted.labels)
        for part, features in vectors.items():
            for region, rows in self._fit_rows.items():
                probe = RidgeProbe.fit(features[rows], targets[rows], self._validation[rows])
                self._add_errors(subject, part, region, probe(held[part]))

    def probe_classes(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Class probes of every part."""
        classes = self._fitted.classes
        for part, features in vectors.items():
            for region, rows in self._class_rows.items():
                if classes is None or len(np.unique(classes[rows])) < 2:
                    continue
                probe = ClassProbe(features[rows], classes[rows])
                note = "" if probe.converged else "at least: the fit did not converge"
                predicted = probe(held[part])
                self._add_accuracy(subject, part, region, predicted, note=note)
                if part == FUSED and subject == ENCODER:
                    self._add_confusion(region, predicted)

    def share(
        self, vectors: Embedded, held: Embedded, objective: nn.Module | None
    ) -> tuple[str, Embedded]:
        """What leads both senses to one space, and held-out unit vectors there; empty for one."""
        if not set(_PAIR) <= set(held):
            self.notes.append(
                "The encoder has a single sense, or an embedding without a part for each: "
                "retrieval, alignment and uniformity need vision and touch and are left out."
            )
            return "", {}
        heads = None if objective is None else space.projection_heads(objective)
        if heads is not None:
            return "projection heads", space.project(heads, held)
        mapped = space.ridge_map(vectors, held, _PAIR, self._validation)
        return "ridge map of vision to touch", mapped

    def compare_senses(self, shared: Embedded) -> None:
        """Which touch belongs to which image, and how both lie on the unit sphere."""
        if not shared:
            return
        for region in dict.fromkeys((ALL, self._decides)):
            rows = np.flatnonzero(self._held.regions[region])
            pool = min(LARGEST_POOL, len(rows))
            if pool <= max(ms.RANKS):
                self.notes.append(f"{len(rows)} held-out rows ({region}) are too few to retrieve.")
                continue
            order = self._generator.permutation(rows)
            used = len(rows) // pool * pool
            for query, key in (_PAIR, _PAIR[::-1]):
                of = {"part": query, "against": key, "region": region}
                self.add(ENCODER, ms.POOL, pool, **of, unit="rows")
                recall = space.pooled_recall(shared[query], shared[key], ms.RANKS, pool, order)
                for rank, value in recall.items():
                    self.add(ENCODER, ms.RECALL.format(rank), value, **of, rows=used)
                    self.add(ENCODER, ms.CHANCE.format(rank), rank / pool, **of)
        vision, touch = _PAIR
        value = space.alignment(shared[vision], shared[touch])
        self.add(ENCODER, ms.ALIGNMENT, value, part=vision, against=touch, region=ALL)
        sample = self._sample(_CLUSTERED_ROWS)
        for sense in _PAIR:
            value = space.uniformity(shared[sense][sample])
            self.add(ENCODER, ms.UNIFORMITY, value, part=sense, region=ALL, rows=len(sample))

    def measure_clusters(self, held: Embedded, shared: Embedded) -> None:
        """Clusters against classes."""
        if not self.classes or self._held.classes is None:
            return
        sample = self._sample(_CLUSTERED_ROWS)
        classes = self._held.classes[sample]
        if len(np.unique(classes)) < 2:
            return
        spaces = {part: _standardised(value) for part, value in held.items()}
        spaces |= {f"shared {part}": value for part, value in shared.items()}
        for part, value in spaces.items():
            of = {"part": part, "variable": CLASS, "region": ALL, "rows": len(sample)}
            self.add(ENCODER, ms.SILHOUETTE, silhouette_score(value[sample], classes), **of)
            agreement = space.cluster_agreement(value[sample], classes, self._seed)
            self.add(ENCODER, ms.NMI, agreement, **of)

    def points(self, held: Embedded, shared: Embedded, count: int) -> Iterator[Point]:
        """t-SNE of the senses in their shared space, and of the embedding."""
        sample = self._sample(count)
        if len(sample) < 4:
            return
        names = [""] * len(sample)
        if self.classes and self._held.classes is not None:
            names = [self.classes[code] for code in self._held.classes[sample]]
        rows = self._held.numbers[sample].tolist()
        spaces = {"shared": shared} if shared else {}
        spaces[FUSED] = {FUSED: _standardised(held[FUSED])}
        for title, parts in spaces.items():
            places = space.tsne(np.concatenate([p[sample] for p in parts.values()]), self._seed)
            for part, of in zip(parts, np.split(places, len(parts)), strict=True):
                for name, row, (x, y) in zip(names, rows, of, strict=True):
                    yield Point(title, part, name, row, round(float(x), 3), round(float(y), 3))

    def _sample(self, limit: int) -> NDArray[np.int64]:
        """Some of the held-out rows."""
        return choose_rows(len(self._held.numbers), limit, self._generator)

    def _within(self, fitted_on: str) -> Iterable[tuple[str, NDArray[np.bool_]]]:
        """Regions with held-out rows; for a probe that was fitted on one, those within it."""
        for region in self.regions:
            mask = self._held.regions[region]
            if mask.any() and (mask <= self._held.regions[fitted_on]).all():
                yield region, mask

    def _add_means(
        self,
        subject: str,
        measure: str,
        variables: Sequence[str],
        fitted_on: str,
        values: NDArray[np.float64],
        **columns: Any,
    ) -> None:
        """Add means of columns of the held-out rows, (N, L), in each region."""
        for region, mask in self._within(fitted_on):
            episodes = self._held.episode[mask]
            estimates = episode_means(values[mask], episodes, self._seed)
            for variable, estimate in zip(variables, estimates, strict=True):
                self.add(
                    subject,
                    measure,
                    variable=variable,
                    fitted_on=fitted_on,
                    region=region,
                    unit=unit(variable),
                    rows=len(episodes),
                    episodes=len(np.unique(episodes)),
                    bound=self.bounds.get(variable) if region == self._decides else None,
                    **estimate._asdict(),
                    **columns,
                )

    def _add_errors(
        self, subject: str, part: str, fitted_on: str, predicted: NDArray[np.float64]
    ) -> None:
        errors = self.variables.errors(predicted, self._held.labels)
        self._add_means(subject, ms.ERROR, self.variables.names, fitted_on, errors, part=part)

    def _add_accuracy(
        self, subject: str, part: str, fitted_on: str, predicted: NDArray[np.int64], note: str = ""
    ) -> None:
        actual = self._held.classes
        assert actual is not None  # or there would be no class probes
        right = (actual == predicted).astype(np.float64)[:, None]
        columns = {"part": part, "note": note}
        self._add_means(subject, ms.ACCURACY, (CLASS,), fitted_on, right, **columns)

    def _add_confusion(self, fitted_on: str, predicted: NDArray[np.int64]) -> None:
        """Which classes are taken for which, from the whole embedding."""
        actual = self._held.classes
        assert actual is not None  # or there would be no class probes
        for region, mask in self._within(fitted_on):
            codes = range(len(self.classes))
            counts = confusion_matrix(actual[mask], predicted[mask], labels=codes)
            for (i, j), count in np.ndenumerate(counts):
                of = {"part": FUSED, "variable": self.classes[i], "against": self.classes[j]}
                where = {"fitted_on": fitted_on, "region": region, "unit": "rows"}
                self.add(ENCODER, ms.CONFUSION, count, **of, **where)


def _require_columns(split: Rows, title: str, keys: Sequence[str]) -> None:
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


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return Standardiser.of(values)(values).astype(np.float32)
