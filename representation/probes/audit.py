"""The information audit: which part of an embedding holds which variable."""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vtenv
from representation.encoder_config import SENSES, EncoderConfig
from representation.probes.bootstrap import Bootstrap
from representation.probes.classes import ClassProbe, confusion_counts
from representation.probes.clusters import cluster_agreement, silhouette
from representation.probes.embed import (
    BOTH,
    PARTS,
    Embedded,
    Embedder,
    Progress,
    embed_rows,
    encoder_embedder,
    pixel_embedder,
)
from representation.probes.gate import (
    CONNECTOR,
    ERROR_BOUNDS,
    GateCheck,
    capture_range,
    check,
)
from representation.probes.linear import Moments, fit_probe
from representation.probes.regions import ALL, NEAR, REGION_COLUMNS, region_masks
from representation.probes.report import (
    ENCODER,
    MEAN,
    PIXELS,
    RANDOM,
    AuditReport,
    ClassAccuracy,
    ClusterScores,
    Places,
    PoseError,
    Retrieval,
    Sphere,
)
from representation.probes.retrieval import pooled_recall
from representation.probes.shared_space import (
    MAPPED,
    PROJECTED,
    RidgeMap,
    project,
    projection_heads,
)
from representation.probes.sphere import alignment, uniformity
from representation.probes.split import ProbeError, SplitLike, choose_rows
from representation.probes.tsne import tsne
from representation.probes.variables import PoseVariables
from representation.timm_encoder import VisuotactileEncoder
from vtenv.tasks.insertion.pose_labels import POSE_LABELS

RANKS = (1, 5, 10)
"""Ranks of the cross-modal retrieval."""
POOL = 1000
"""Moments among which a partner is sought, if there are as many."""

_VALIDATION_PART = 0.2
_MIN_FIT_ROWS = 200
_MIN_ROWS_BY_NUMBER = 4
"""Fewest training rows near contact for probes of their own: so many, and so many for each number
of the embedding."""
_FEW_EPISODES = 500
"""Fewer training episodes than this are noted."""
_CLASS_ROWS = 10_000
"""Most training rows that a class probe is fitted on: it iterates over them."""
_CLUSTERED_ROWS = 2000
_LABEL_BLOCK = 8192
_BATCH_SIZE = 64
_DEVICE_BATCH_SIZE = 512


@dataclass(frozen=True)
class _Rows:
    """Rows of a split, and all that is known of them but their images.

    Attributes:
        split: Where they are.
        numbers: Which they are, (N,).
        pose: Labels, (N, L), float32.
        connector: Classes, (N,); None if unknown.
        episode: Episode of each, (N,); the row itself if unknown.
        regions: Masks by region, (N,).
    """

    split: SplitLike
    numbers: NDArray[np.int64]
    pose: NDArray[np.float32]
    connector: NDArray[np.int64] | None
    episode: NDArray[np.int64]
    regions: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, split: SplitLike, limit: int, generator: np.random.Generator) -> _Rows:
        numbers = choose_rows(len(split), limit, generator)
        wanted = ("pose", "connector", "episode", *REGION_COLUMNS)
        names = [name for name in wanted if name in split.columns]
        blocks = [
            {key: _to_numpy(value) for key, value in split.read(part, names).items()}
            for part in np.split(numbers, range(_LABEL_BLOCK, len(numbers), _LABEL_BLOCK))
        ]
        columns = {name: np.concatenate([block[name] for block in blocks]) for name in names}
        connector = columns.get("connector")
        return cls(
            split,
            numbers,
            columns["pose"].astype(np.float32),
            None if connector is None else connector.astype(np.int64),
            columns.get("episode", numbers).astype(np.int64),
            region_masks(columns, len(numbers)),
        )

    def counts(self) -> dict[str, int]:
        return {region: int(mask.sum()) for region, mask in self.regions.items()}


def audit(
    encoder: VisuotactileEncoder | None,
    train: SplitLike,
    heldout: SplitLike,
    *,
    labels: Sequence[str] = POSE_LABELS,
    settings: Mapping[str, object] | None = None,
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
    `depth` and `contact`, those that the encoder perceives with; `pose`; and, for what is measured
    with them, `connector`, `episode`, `insertion_depth_mm`, `lateral_mm` and `contact_force_n`.

    Args:
        encoder: The encoder, which is left as it is; None for the baselines alone.
        train: Rows to fit probes on.
        heldout: Rows of other episodes to measure them on.
        labels: Names of the columns of `pose`, their unit as the last word ("mm", "deg").
        settings: Of the data's environment, for the yardstick: `clearance_mm`, `lead_in_mm`.
        name: What the report calls the encoder.
        objective: What it was trained with; its projection heads, if any, lead to the space in
            which vision and touch are compared.
        baselines: Whether to probe raw pixels and an untrained encoder of the same configuration
            too.
        rows: Most training rows; of the held-out ones, half as many.
        seed: Seed of all that is drawn.
        device: Where networks run and probes are solved; None for where the encoder is.
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
    modalities = tuple(senses)
    keys = [key for of in senses.values() for key in of]
    for split, title in ((train, "training"), (heldout, "held-out")):
        _require_columns(split, title, keys)
    if device is None:
        parameter = None if encoder is None else next(encoder.parameters())
        device = torch.device("cpu") if parameter is None else parameter.device
    device = torch.device(device)

    generator = np.random.default_rng(seed)
    fitted = _Rows.of(train, rows, generator)
    held = _Rows.of(heldout, max(rows // 2, 1), generator)
    if fitted.pose.shape[1] != len(labels):
        raise ProbeError(
            f"the data's pose has {fitted.pose.shape[1]} columns, but {len(labels)} labels are "
            f"given: {', '.join(labels)}"
        )
    fewest = _MIN_FIT_ROWS
    if encoder is not None:
        fewest = max(fewest, _MIN_ROWS_BY_NUMBER * encoder.embedding_size)
    variables = PoseVariables.of(labels, fitted.pose)
    session = _Session(fitted, held, variables, fewest, generator, progress)

    embedders: dict[str, Embedder] = {}
    if encoder is not None:
        embedders[ENCODER] = encoder_embedder(_prepared(copy.deepcopy(encoder), device))
    if baselines:
        if encoder is not None:
            embedders[RANDOM] = encoder_embedder(_prepared(untrained(config, seed), device))
        embedders[PIXELS] = pixel_embedder(senses, config.ranges)
    if batch_size is None:
        batch_size = _BATCH_SIZE if device.type == "cpu" else _DEVICE_BATCH_SIZE
    with session.timed("embedding"):
        embedded = [
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
        ]

    session.guess_means()
    for subject in embedders:
        vectors, held_vectors = embedded[0].pop(subject), embedded[1].pop(subject)
        session.probe_pose(subject, vectors, held_vectors)
        session.probe_connector(subject, vectors, held_vectors)
        if subject == ENCODER:
            session.compare(vectors, held_vectors, objective, pictures, seed)
    yardsticks = capture_range(settings or {})
    return AuditReport(
        name=name if encoder is not None else "no encoder",
        config={} if encoder is None else json.loads(json.dumps(dataclasses.asdict(config))),
        modalities=modalities,
        embedding_size=0 if encoder is None else encoder.embedding_size,
        variables=session.variables.names,
        circular=tuple(
            n
            for n, circular in zip(session.variables.names, session.variables.circular, strict=True)
            if circular
        ),
        classes=vtenv.CONNECTOR_NAMES,
        seed=seed,
        train_rows=fitted.counts(),
        heldout_rows=held.counts(),
        train_episodes=len(np.unique(fitted.episode)),
        heldout_episodes=len(np.unique(held.episode)),
        yardsticks={n: yardsticks[n] for n in labels if n in yardsticks},
        pose=tuple(session.pose),
        connector=tuple(session.accuracies),
        shared_space=session.shared_space,
        retrieval=tuple(session.retrieval),
        sphere=session.sphere,
        clusters=tuple(session.clusters),
        places=tuple(session.places),
        gate=() if encoder is None else session.gate(modalities),
        notes=tuple(dict.fromkeys(session.notes)),
        seconds={stage: round(value, 2) for stage, value in session.seconds.items()},
    )


def untrained(config: EncoderConfig, seed: int) -> VisuotactileEncoder:
    """An encoder as it is before training, in evaluation mode.

    Args:
        config: Its configuration.
        seed: Seed of its weights; torch's own generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisuotactileEncoder(config).eval()


class _Session:
    """One audit on its way: the rows, and what has been found so far."""

    def __init__(
        self,
        fitted: _Rows,
        held: _Rows,
        variables: PoseVariables,
        fewest: int,
        generator: np.random.Generator,
        progress: Progress | None,
    ) -> None:
        self.fitted, self.held, self.variables = fitted, held, variables
        self.pose: list[PoseError] = []
        self.accuracies: list[ClassAccuracy] = []
        self.shared_space = ""
        self.retrieval: list[Retrieval] = []
        self.sphere: Sphere | None = None
        self.clusters: list[ClusterScores] = []
        self.places: list[Places] = []
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._generator = generator
        self._class_seed = int(generator.integers(1 << 32))  # so that all subjects get the same
        self._validation = _validation(fitted.episode, generator)
        self._bootstrap = Bootstrap(held.episode, generator)
        self.fit_regions = [ALL]
        episodes = len(np.unique(fitted.episode))
        if episodes < _FEW_EPISODES:
            self.notes.append(
                f"The training rows are of {episodes} episodes only. The plug hardly moves in the "
                "hand during one, so probes see few grasps, and errors are too large."
            )
        if NEAR not in fitted.regions:
            self.notes.append(
                f"The data has no {', '.join(REGION_COLUMNS)}: states near contact are not told "
                "apart."
            )
        elif (count := int(fitted.regions[NEAR].sum())) >= fewest:
            self.fit_regions.append(NEAR)
        else:
            self.notes.append(
                f"{count:,} training rows near contact are too few for probes of their own, "
                f"which need {fewest:,}: those fitted on all rows decide. Give more rows."
            )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage's."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def guess_means(self) -> None:
        """Errors of guessing the mean of the rows that a probe would be fitted on."""
        targets = self.variables.targets(torch.from_numpy(self.fitted.pose).double())
        pose = torch.from_numpy(self.held.pose).double()
        for region in self.fit_regions:
            mask = torch.from_numpy(self.fitted.regions[region])
            errors = self.variables.errors(targets[mask].mean(dim=0, keepdim=True), pose)
            self._add_errors(MEAN, "none", region, errors)

    def probe_pose(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Linear probes of every pose variable, of every part."""
        with self.timed("linear probes"):
            device = next(iter(vectors.parts.values())).device
            targets = self.variables.targets(torch.from_numpy(self.fitted.pose).to(device).double())
            pose = torch.from_numpy(self.held.pose).to(device).double()
            # Parts that lie in "both" are blocks of its moments: one pass over the rows for all.
            whole = [BOTH] if vectors.columns else list(vectors.parts)
            for name in whole:
                features = vectors.parts[name]
                shift = features.mean(dim=0, dtype=torch.float64)
                moments = self._moments(features, targets, shift)
                for part, columns in {**vectors.columns, name: slice(None)}.items():
                    for region, (fit, validation) in moments.items():
                        self._report(f"Linear probes of the {subject}")
                        probe = fit_probe(
                            fit.columns(columns), validation.columns(columns), shift[columns]
                        )
                        errors = self.variables.errors(probe(held.parts[part]), pose)
                        self._add_errors(subject, part, region, errors)

    def probe_connector(self, subject: str, vectors: Embedded, held: Embedded) -> None:
        """Class probes of every part."""
        classes, actual = self.fitted.connector, self.held.connector
        if classes is None or actual is None or len(np.unique(classes)) < 2:
            self.notes.append("The data has a single connector: the class is not probed.")
            return
        generator = np.random.default_rng(self._class_seed)
        chosen = {
            region: every[choose_rows(len(every), _CLASS_ROWS, generator)]
            for region in self.fit_regions
            for every in [np.flatnonzero(self.fitted.regions[region])]
        }
        with self.timed("class probes"):
            for part in PARTS:
                if part not in vectors.parts:
                    continue
                features = vectors.parts[part].cpu().numpy()
                held_features = held.parts[part].cpu().numpy()
                for region in self.fit_regions:
                    self._report(f"Class probes of the {subject}")
                    rows = chosen[region]
                    if len(np.unique(classes[rows])) < 2:
                        continue
                    probe = ClassProbe(features[rows], classes[rows])
                    predicted = probe.predict(held_features)
                    self._add_accuracy(subject, part, region, probe.converged, actual, predicted)

    def compare(
        self,
        vectors: Embedded,
        held: Embedded,
        objective: nn.Module | None,
        pictures: int,
        seed: int,
    ) -> None:
        """Vision against touch in their shared space, and clusters against connectors."""
        with self.timed("shared space"):
            shared = self._share(vectors, held, objective)
            if shared is not None:
                self._retrieve(shared)
                sample = self._sample(_CLUSTERED_ROWS)
                uniform = {name: uniformity(shared[name][sample]) for name in SENSES}
                self.sphere = Sphere(alignment(shared["vision"], shared["touch"]), uniform)
        with self.timed("clusters"):
            self._cluster(held, shared or {}, seed)
        with self.timed("t-SNE"):
            self._picture(held, shared, pictures, seed)

    def gate(self, modalities: tuple[str, ...]) -> tuple[GateCheck, ...]:
        """Bounds on the encoder near contact; none where the data has no such rows."""
        if NEAR not in self.fitted.regions or not set(ERROR_BOUNDS) <= set(self.variables.names):
            return ()
        part = BOTH if len(modalities) > 1 else modalities[0]
        fitted_on = self.fit_regions[-1]
        wanted = (ENCODER, part, fitted_on, NEAR)
        values = {
            e.variable: e.error.mean
            for e in self.pose
            if (e.subject, e.part, e.fitted_on, e.region) == wanted
        }
        for a in self.accuracies:
            if (a.subject, a.part, a.fitted_on, a.region) == wanted:
                values[CONNECTOR] = a.accuracy.mean
        return tuple(
            check(variable, values.get(variable), fitted_on)
            for variable in (CONNECTOR, *ERROR_BOUNDS)
        )

    def _report(self, stage: str) -> None:
        if self._progress is not None:
            self._progress(stage, 0, 0)

    def _moments(
        self, features: Tensor, targets: Tensor, shift: Tensor
    ) -> dict[str, tuple[Moments, Moments]]:
        """Moments of the rows to fit and to validate on, by region."""

        def of(mask: NDArray[np.bool_]) -> Moments:
            rows = torch.from_numpy(np.flatnonzero(mask)).to(features.device)
            return Moments.of(features, targets, shift, rows)

        validation = self._validation
        if NEAR not in self.fit_regions:
            return {ALL: (of(~validation), of(validation))}
        near = self.fitted.regions[NEAR]
        fit_near, validate_near = of(~validation & near), of(validation & near)
        return {
            ALL: (fit_near + of(~validation & ~near), validate_near + of(validation & ~near)),
            NEAR: (fit_near, validate_near),
        }

    def _add_errors(self, subject: str, part: str, fitted_on: str, errors: Tensor) -> None:
        values = errors.cpu().numpy()
        for region, mask in self._measured(fitted_on):
            estimates = self._bootstrap.means(values, mask)
            self.pose += [
                PoseError(subject, part, variable, fitted_on, region, estimate)
                for variable, estimate in zip(self.variables.names, estimates, strict=True)
            ]

    def _add_accuracy(
        self,
        subject: str,
        part: str,
        fitted_on: str,
        converged: bool,
        actual: NDArray[np.int64],
        predicted: NDArray[np.int64],
    ) -> None:
        right = (actual == predicted).astype(np.float64)[:, None]
        for region, mask in self._measured(fitted_on):
            (estimate,) = self._bootstrap.means(right, mask)
            counts = confusion_counts(actual[mask], predicted[mask], len(vtenv.CONNECTOR_NAMES))
            self.accuracies.append(
                ClassAccuracy(subject, part, fitted_on, region, estimate, counts, converged)
            )

    def _measured(self, fitted_on: str) -> list[tuple[str, NDArray[np.bool_]]]:
        """Regions to measure on: for a probe fitted near contact, only those within."""
        near = self.held.regions.get(NEAR)
        return [
            (region, mask)
            for region, mask in self.held.regions.items()
            if fitted_on == ALL or (near is not None and bool((mask <= near).all()))
        ]

    def _share(
        self, vectors: Embedded, held: Embedded, objective: nn.Module | None
    ) -> dict[str, Tensor] | None:
        """Held-out unit vectors of both modalities in one space; None for a single modality."""
        if not set(SENSES) <= set(held.parts):
            self.notes.append(
                f"The encoder has {next(iter(held.parts))} alone: retrieval, alignment and "
                "uniformity need both modalities and are left out."
            )
            return None
        heads = None if objective is None else projection_heads(objective)
        if heads is not None:
            self.shared_space = PROJECTED
            return project(heads, held.parts)
        self.shared_space = MAPPED
        validation = torch.from_numpy(self._validation).to(vectors.parts["vision"].device)
        return RidgeMap(vectors.parts["vision"], vectors.parts["touch"], validation)(held.parts)

    def _retrieve(self, shared: Mapping[str, Tensor]) -> None:
        for region in (ALL, NEAR):
            if region not in self.held.regions:
                continue
            rows = np.flatnonzero(self.held.regions[region])
            pool = min(POOL, len(rows))
            if pool <= max(RANKS):
                self.notes.append(f"{len(rows)} held-out rows ({region}) are too few to retrieve.")
                continue
            order = torch.from_numpy(self._generator.permutation(rows))
            for query, key in permutations(SENSES):
                at = order.to(shared[query].device)
                recall = pooled_recall(shared[query], shared[key], RANKS, pool, at)
                named = {str(rank): value for rank, value in recall.items()}
                self.retrieval.append(Retrieval(query, key, region, pool, len(rows) // pool, named))

    def _sample(self, limit: int) -> NDArray[np.int64]:
        return choose_rows(len(self.held.numbers), limit, self._generator)

    def _cluster(self, held: Embedded, shared: Mapping[str, Tensor], seed: int) -> None:
        classes = self.held.connector
        if classes is None:
            return
        sample = self._sample(_CLUSTERED_ROWS)
        if len(np.unique(classes[sample])) < 2:
            return
        spaces = {part: _standardised(held.parts[part]) for part in PARTS if part in held.parts}
        spaces |= {f"shared {name}": value for name, value in shared.items()}
        for space, value in spaces.items():
            self._report("Clusters")
            points = value[sample].cpu().numpy()
            self.clusters.append(
                ClusterScores(
                    space,
                    silhouette(points, classes[sample]),
                    cluster_agreement(points, classes[sample], seed),
                    len(sample),
                )
            )

    def _picture(
        self, held: Embedded, shared: Mapping[str, Tensor] | None, pictures: int, seed: int
    ) -> None:
        sample = self._sample(pictures)
        if len(sample) < 4:
            return
        part = BOTH if BOTH in held.parts else next(iter(held.parts))
        spaces = {part: {part: _standardised(held.parts[part])}}
        if shared is not None:
            spaces = {"shared": dict(shared)} | spaces
        classes = self.held.connector
        for space, points in spaces.items():
            self._report("t-SNE")
            places = tsne(np.concatenate([p[sample].cpu().numpy() for p in points.values()]), seed)
            of = [-1] * len(sample) if classes is None else classes[sample].tolist()
            self.places.append(
                Places(
                    space,
                    tuple(name for name in points for _ in sample),
                    tuple(of) * len(points),
                    tuple(self.held.numbers[sample].tolist()) * len(points),
                    *(tuple(round(float(v), 3) for v in column) for column in places.T),
                )
            )


def _senses(encoder: VisuotactileEncoder | None, split: SplitLike) -> dict[str, tuple[str, ...]]:
    config = EncoderConfig() if encoder is None else encoder.config
    if encoder is not None:
        return config.senses
    found = {
        sense: keys for sense, keys in config.senses.items() if set(keys) <= set(split.columns)
    }
    if not found:
        raise ProbeError("the data has neither depth nor contact: there is nothing to probe")
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
    if "pose" not in split.columns:
        raise ProbeError(
            f"the {title} split has no pose labels to probe for; it has {found}. Data sets that "
            "`vtinsert dataset` makes have them"
        )


def _validation(episodes: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Rows that choose penalties: a fifth of the episodes."""
    every = np.unique(episodes)
    chosen = generator.permutation(every)[: round(_VALIDATION_PART * len(every))]
    return np.isin(episodes, chosen)


def _prepared(encoder: VisuotactileEncoder, device: torch.device) -> VisuotactileEncoder:
    """Ready to embed many rows: channels last takes half the time of small convolutions."""
    moved: VisuotactileEncoder = encoder.to(device=device).to(memory_format=torch.channels_last)
    return moved.eval()


def _standardised(values: Tensor) -> Tensor:
    mean, deviation = values.mean(dim=0), values.std(dim=0)
    flat = deviation <= 1e-6 * (1.0 + mean.abs())
    return (values - mean) / torch.where(flat, torch.inf, deviation)


def _to_numpy(value: Any) -> NDArray[Any]:
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
