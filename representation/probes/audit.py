"""The information audit: which part of an embedding holds which variable."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, silhouette_score
from torch import nn

from representation.encoder import Encoder
from representation.encoder_config import EncoderConfig, senses_of
from representation.preprocessing import Normalisation
from representation.probes import measurements as ms
from representation.probes.classes import ClassProbe, cluster_agreement
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
from representation.probes.linear import Standardiser, fit_probe
from representation.probes.measurements import ALL, ENCODER, FUSED, MEAN, Measurement
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
from representation.probes.split import LabelledRows, ProbeError, SplitLike, choose_rows
from representation.probes.targets import CLASS, POSE, ProbeTargets
from representation.probes.tsne import tsne
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
    encoder: Encoder | None,
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
        encoder: The encoder, which is left as it is; None for the baselines alone. Of a
            `VisuotactileEncoder` the part of each sense is probed too, of any other `Encoder` the
            embedding alone.
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

    Returns:
        The report.

    Raises:
        ProbeError: If a split lacks images or labels, or has too few rows.
        ValueError: If the images do not have the encoder's sizes; says both.
    """
    if encoder is None and not baselines:
        raise ProbeError("there is nothing to probe: give an encoder, or baselines=True")
    senses = _senses_in(train) if encoder is None else senses_of(encoder.keys)
    keys = [key for of in senses.values() for key in of]
    for split, title in ((train, "training"), (heldout, "held-out")):
        _require_columns(split, title, keys)
    if device is None:
        parameter = next(encoder.parameters(), None) if isinstance(encoder, nn.Module) else None
        device = "cpu" if parameter is None else parameter.device
    device = torch.device(device)

    generator = np.random.default_rng(seed)
    fitted = LabelledRows.of(train, rows, targets, generator)
    held = LabelledRows.of(heldout, max(rows // 2, 1), targets, generator)
    size = 0 if encoder is None else encoder.embedding_size
    study = _Study(fitted, held, targets, name, size, seed, generator)
    report_stage = progress or (lambda stage, done, total: None)

    embedders: dict[str, Embedder] = {}
    ranges: dict[str, Normalisation] = {**IMAGE_MODALITIES}
    if encoder is not None:
        embedders[ENCODER] = encoder_embedder(encoder, device)
    if isinstance(encoder, VisuotactileEncoder):
        ranges |= encoder.config.ranges
        if baselines:
            embedders[ms.UNTRAINED] = encoder_embedder(untrained(encoder.config, seed), device)
    if baselines:
        embedders[ms.PIXELS] = pixel_embedder(senses, ranges)
    if batch_size is None:
        batch_size = _BATCH_SIZE if device.type == "cpu" else _DEVICE_BATCH_SIZE
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
    measured = [*_guesses(study)]
    points: list[Point] = []
    shared_space = ""
    for subject in embedders:
        vectors, others = fitted_vectors.pop(subject), held_vectors.pop(subject)
        report_stage(f"Linear probes of the {subject}", 0, 0)
        measured += _pose_rows(study, subject, vectors, others)
        report_stage(f"Class probes of the {subject}", 0, 0)
        measured += _class_rows(study, subject, vectors, others)
        if subject == ENCODER:
            report_stage("Shared space and clusters", 0, 0)
            shared_space, shared = _share(study, vectors, others, objective)
            if shared:
                measured += [*_retrieval(study, shared, generator)]
                measured += [*_spread(study, shared, generator)]
            measured += [*_clusters(study, others, shared, generator)]
            report_stage("t-SNE", 0, 0)
            points = [*_points(study, others, shared, pictures, generator)]
    measured += [
        Measurement(name, "", ms.CAPTURE_RANGE, value, variable=variable, unit=unit(variable))
        for variable, value in targets.capture_range.items()
        if variable in targets.variables
    ]
    return AuditReport(
        name=name if encoder is not None else "no encoder",
        senses=tuple(senses),
        embedding_size=size,
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
        measurements=tuple(measured),
        points=tuple(points),
        notes=tuple(dict.fromkeys(study.notes)),
    )


class _Study:
    """What all probes of an audit share.

    Attributes:
        fitted: Rows to fit on.
        held: Rows to measure on.
        classes: Names of the classes, by number; empty where they are unknown.
        regions: Those to measure in, and what people call them; the first one decides.
        bounds: What an encoder should reach where it decides.
        fit_rows: Training rows by the region that probes are fitted on, (N,), bool.
        class_rows: Those of them that class probes are fitted on, as numbers; empty for one class.
        validation: Training rows that choose penalties, (N,), bool: a fifth of the episodes.
        subject: What a confusion matrix is made of.
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
        self.fitted, self.held, self.name, self.seed = fitted, held, name, seed
        self.subject = ENCODER if embedding_size else ms.PIXELS
        self.variables = PoseVariables.of(targets.variables, fitted.pose)
        self.classes = _class_names(fitted.classes, held.classes, targets.classes)
        self.regions = {
            region: region.replace("_", " ")
            for region in (*targets.regions[1:], *targets.regions[:1])
            if region in fitted.regions and region in held.regions
        } | {ALL: "all rows"}
        self.decides = next(iter(self.regions))
        asked = set(targets.bounds) - {CLASS} <= set(targets.variables) and self.decides != ALL
        self.bounds = dict(targets.bounds) if asked else {}
        self.notes: list[str] = []
        class_generator = np.random.default_rng(int(generator.integers(1 << 32)))
        episodes = np.unique(fitted.episode)
        validating = generator.permutation(episodes)[: round(_VALIDATION_PART * len(episodes))]
        self.validation = np.isin(fitted.episode, validating)
        if len(episodes) < _FEW_EPISODES:
            self.notes.append(
                f"The training rows are of {len(episodes)} episodes only. What hardly changes "
                "during one is seen in few places, and its errors are too large."
            )
        self.fit_rows = {ALL: fitted.regions[ALL]}
        if self.decides == ALL:
            self.notes.append("The data tell no regions apart: there are all rows alone.")
        else:
            self._fit_where_it_decides(max(_MIN_FIT_ROWS, _MIN_ROWS_BY_NUMBER * embedding_size))
        self.class_rows: dict[str, NDArray[np.int64]] = {}
        if fitted.classes is None or not self.classes or len(np.unique(fitted.classes)) < 2:
            self.notes.append("The data has a single connector: the class is not probed.")
            return
        for region, mask in self.fit_rows.items():
            every = np.flatnonzero(mask)
            self.class_rows[region] = every[choose_rows(len(every), _CLASS_ROWS, class_generator)]

    def _fit_where_it_decides(self, fewest: int) -> None:
        rows, title = self.fitted.regions[self.decides], self.regions[self.decides]
        if not self.held.regions[self.decides].any():
            self.notes.append(f"There are no held-out rows {title}.")
        if rows.sum() >= fewest:
            self.fit_rows[self.decides] = rows
        else:
            self.notes.append(
                f"{rows.sum():,} training rows {title} are too few for probes of their own, which "
                f"need {fewest:,}: those fitted on all rows decide. Give more rows."
            )

    def sample(self, limit: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Some of the held-out rows."""
        return choose_rows(len(self.held.numbers), limit, generator)

    def within(self, fitted_on: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Regions with held-out rows; for a probe that was fitted on one, those within it."""
        for region in self.regions:
            mask = self.held.regions[region]
            if mask.any() and (mask <= self.held.regions[fitted_on]).all():
                yield region, mask


def _means(
    study: _Study,
    subject: str,
    measure: str,
    variables: Sequence[str],
    fitted_on: str,
    values: NDArray[np.float64],
    **columns: Any,
) -> Iterator[Measurement]:
    """Means of columns of the held-out rows, (N, L), in each region."""
    for region, mask in study.within(fitted_on):
        estimates = episode_means(values[mask], study.held.episode[mask], study.seed)
        for variable, estimate in zip(variables, estimates, strict=True):
            yield Measurement(
                study.name,
                subject,
                measure,
                variable=variable,
                fitted_on=fitted_on,
                region=region,
                unit=unit(variable),
                bound=study.bounds.get(variable) if region == study.decides else None,
                **dataclasses.asdict(estimate),
                **columns,
            )


def _errors(
    study: _Study, subject: str, fitted_on: str, predicted: NDArray[np.float64], part: str = ""
) -> Iterator[Measurement]:
    """Errors of predicted targets."""
    errors = study.variables.errors(predicted, study.held.pose)
    names = study.variables.names
    yield from _means(study, subject, ms.ERROR, names, fitted_on, errors, part=part)


def _accuracy(
    study: _Study, subject: str, fitted_on: str, predicted: NDArray[np.int64], **columns: str
) -> Iterator[Measurement]:
    """Accuracy of predicted classes; of the whole embedding, which are taken for which too."""
    actual = study.held.classes
    assert actual is not None
    right = (actual == predicted).astype(np.float64)[:, None]
    yield from _means(study, subject, ms.ACCURACY, (CLASS,), fitted_on, right, **columns)
    if columns.get("part") != FUSED or subject != study.subject:
        return
    for region, mask in study.within(fitted_on):
        codes = range(len(study.classes))
        counts = confusion_matrix(actual[mask], predicted[mask], labels=codes)
        for (i, j), count in np.ndenumerate(counts):
            yield Measurement(
                study.name,
                subject,
                ms.CONFUSION,
                float(count),
                part=FUSED,
                variable=study.classes[i],
                against=study.classes[j],
                fitted_on=fitted_on,
                region=region,
                unit="rows",
            )


def _guesses(study: _Study) -> Iterator[Measurement]:
    """What guessing the mean, and the most frequent class, of the rows to fit on would do."""
    targets = study.variables.targets(study.fitted.pose)
    for region, mask in study.fit_rows.items():
        yield from _errors(study, MEAN, region, targets[mask].mean(axis=0, keepdims=True))
        if study.class_rows and study.fitted.classes is not None:
            frequent = np.bincount(study.fitted.classes[mask]).argmax()
            predicted = np.full(len(study.held.numbers), frequent)
            yield from _accuracy(study, MEAN, region, predicted)


def _pose_rows(
    study: _Study, subject: str, vectors: Embedded, held: Embedded
) -> Iterator[Measurement]:
    """Linear probes of every pose variable, of every part."""
    targets = study.variables.targets(study.fitted.pose)
    for part, features in vectors.items():
        for region, rows in study.fit_rows.items():
            probe = fit_probe(features[rows], targets[rows], study.validation[rows])
            yield from _errors(study, subject, region, probe(held[part]), part)


def _class_rows(
    study: _Study, subject: str, vectors: Embedded, held: Embedded
) -> Iterator[Measurement]:
    """Class probes of every part."""
    classes = study.fitted.classes
    for part, features in vectors.items():
        for region, rows in study.class_rows.items():
            if classes is not None and len(np.unique(classes[rows])) > 1:
                probe = ClassProbe(features[rows], classes[rows])
                note = "" if probe.converged else "at least: the fit did not converge"
                predicted = probe.predict(held[part])
                yield from _accuracy(study, subject, region, predicted, part=part, note=note)


def _share(
    study: _Study, vectors: Embedded, held: Embedded, objective: nn.Module | None
) -> tuple[str, Embedded]:
    """What leads both senses to one space, and held-out unit vectors there; empty for one."""
    if not set(_PAIR) <= set(held):
        study.notes.append(
            "The encoder has a single sense, or an embedding without a part for each: retrieval, "
            "alignment and uniformity need vision and touch and are left out."
        )
        return "", {}
    heads = None if objective is None else projection_heads(objective)
    if heads is not None:
        return PROJECTED, project(heads, held)
    return MAPPED.format(*_PAIR), ridge_map(vectors, held, _PAIR, study.validation)


def _retrieval(
    study: _Study, shared: Embedded, generator: np.random.Generator
) -> Iterator[Measurement]:
    """Which touch belongs to which image, and the other way round."""
    for region in dict.fromkeys((ALL, study.decides)):
        rows = np.flatnonzero(study.held.regions[region])
        pool = min(LARGEST_POOL, len(rows))
        if pool <= max(RANKS):
            study.notes.append(f"{len(rows)} held-out rows ({region}) are too few to retrieve.")
            continue
        order = generator.permutation(rows)
        used = len(rows) // pool * pool
        for query, key in (_PAIR, _PAIR[::-1]):
            of: dict[str, Any] = {"part": query, "against": key, "region": region}
            recall = pooled_recall(shared[query], shared[key], RANKS, pool, order)
            for rank, value in recall.items():
                measure, chance = ms.RECALL.format(rank), ms.CHANCE.format(rank)
                yield Measurement(study.name, ENCODER, measure, value, **of, rows=used)
                yield Measurement(study.name, ENCODER, chance, rank / pool, **of)
            yield Measurement(study.name, ENCODER, ms.POOL, float(pool), **of, unit="rows")


def _spread(
    study: _Study, shared: Embedded, generator: np.random.Generator
) -> Iterator[Measurement]:
    """How the shared space lies on the unit sphere."""
    vision, touch = _PAIR
    value = alignment(shared[vision], shared[touch])
    yield Measurement(
        study.name, ENCODER, ms.ALIGNMENT, value, part=vision, against=touch, region=ALL
    )
    sample = study.sample(_CLUSTERED_ROWS, generator)
    for sense in _PAIR:
        value = uniformity(shared[sense][sample])
        columns: dict[str, Any] = {"part": sense, "region": ALL, "rows": len(sample)}
        yield Measurement(study.name, ENCODER, ms.UNIFORMITY, value, **columns)


def _clusters(
    study: _Study, held: Embedded, shared: Embedded, generator: np.random.Generator
) -> Iterator[Measurement]:
    """Clusters against classes."""
    if not study.classes or study.held.classes is None:
        return
    sample = study.sample(_CLUSTERED_ROWS, generator)
    classes = study.held.classes[sample]
    if len(np.unique(classes)) < 2:
        return
    spaces = {part: _standardised(value) for part, value in held.items()}
    spaces |= {f"shared {part}": value for part, value in shared.items()}
    for part, value in spaces.items():
        found = {
            ms.SILHOUETTE: float(silhouette_score(value[sample], classes)),
            ms.NMI: cluster_agreement(value[sample], classes, study.seed),
        }
        of: dict[str, Any] = {"part": part, "variable": CLASS, "region": ALL, "rows": len(sample)}
        for measure, score in found.items():
            yield Measurement(study.name, ENCODER, measure, score, **of)


def _points(
    study: _Study, held: Embedded, shared: Embedded, count: int, generator: np.random.Generator
) -> Iterator[Point]:
    """t-SNE of the senses in their shared space, and of the embedding."""
    sample = study.sample(count, generator)
    if len(sample) < 4:
        return
    classes = study.held.classes if study.classes else None
    names = [""] * len(sample) if classes is None else [study.classes[c] for c in classes[sample]]
    rows = study.held.numbers[sample].tolist()
    spaces = {"shared": shared} if shared else {}
    spaces[FUSED] = {FUSED: _standardised(held[FUSED])}
    for space, parts in spaces.items():
        places = tsne(np.concatenate([p[sample] for p in parts.values()]), study.seed)
        for part, of in zip(parts, np.split(places, len(parts)), strict=True):
            for name, row, (x, y) in zip(names, rows, of, strict=True):
                yield Point(space, part, name, row, round(float(x), 3), round(float(y), 3))


def _senses_in(split: SplitLike) -> dict[str, tuple[str, ...]]:
    """Senses of our default encoder that a split has the images of."""
    of = EncoderConfig().senses
    found = {sense: keys for sense, keys in of.items() if set(keys) <= set(split.columns)}
    if not found:
        known = ", ".join(key for keys in of.values() for key in keys)
        raise ProbeError(f"the data has none of {known}: there is nothing to probe")
    return found


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


def _standardised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return Standardiser.of(values)(values).astype(np.float32)
