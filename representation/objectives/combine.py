"""Objectives by name, and their weighted sum."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Generator, nn

from representation.names import require_objectives
from representation.objectives.classification import Classification
from representation.objectives.dynamics import Dynamics
from representation.objectives.infonce import InfoNCE
from representation.objectives.masked import MaskedReconstruction
from representation.objectives.moco import MoCo
from representation.objectives.objective import Batch, Objective, ObjectiveOutput, require_positive
from representation.objectives.pose import PoseRegression
from representation.objectives.soft_contrastive import SoftContrastive
from representation.options import require_chosen, require_known
from representation.timm_encoder import VisuotactileEncoder
from vtenv.import_string import OpenTable, subclass_of

OBJECTIVES: OpenTable[type[Objective]] = OpenTable(
    {
        "classification": Classification,
        "infonce": InfoNCE,
        "moco": MoCo,
        "masked": MaskedReconstruction,
        "soft_contrastive": SoftContrastive,
        "dynamics": Dynamics,
        "pose": PoseRegression,
    },
    "objective",
    subclass_of(Objective),
)
"""Every objective by its name; anybody's by `MODULE:NAME`."""


class WeightedSum(Objective):
    """Objectives summed with weights: loss = sum_n w_n loss_n.

    Args:
        objectives: Objectives by name.
        weights: A positive weight for each.

    Raises:
        ValueError: If the names differ, there are none, or a weight is not positive.
    """

    def __init__(self, objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not objectives or set(objectives) != set(weights):
            raise ValueError(
                f"weights are for {sorted(weights)}, objectives are {sorted(objectives)}; "
                "give a weight for each objective, and at least one"
            )
        require_positive(**weights)
        # A module's name may have no dot, as that of an objective of one's own has.
        short = {name: name.replace(".", "-") for name in objectives}
        self.objectives = nn.ModuleDict({short[name]: each for name, each in objectives.items()})
        self.weights = {short[name]: float(weights[name]) for name in objectives}
        parts = objectives.values()
        self.keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
        self.reads_next = any(part.reads_next for part in parts)
        self.trains_fusion = any(part.trains_fusion for part in parts)

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The sum; metrics are each objective's, as `name/metric`, and its `name/loss`."""
        losses, metrics = [], {}
        for name, objective in self.objectives.items():
            output = cast(ObjectiveOutput, objective(encoder, batch, generator))
            losses.append(self.weights[name] * output.loss)
            metrics[f"{name}/loss"] = output.loss.detach()
            metrics |= {f"{name}/{key}": value for key, value in output.metrics.items()}
        return ObjectiveOutput(torch.stack(losses).sum(), metrics)


def build_objective(
    names: str | Mapping[str, float],
    encoder: VisuotactileEncoder,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Objective:
    """An objective by name, or a sum of several.

    Args:
        names: A name of `OBJECTIVES`, or `MODULE:NAME`; or weights by name, for their
            `WeightedSum`.
        encoder: The encoder it will train, for its sizes.
        options: Keyword arguments of the objectives by name.

    Raises:
        ValueError: If a name or an option is unknown, a value is not allowed, or no objective
            would train the encoder's cross-attention.
    """
    options = options or {}
    chosen = [names] if isinstance(names, str) else list(names)
    require_objectives(chosen)
    require_chosen(options, chosen, "objectives")
    built = {}
    for name in chosen:
        kind, given = OBJECTIVES[name], options.get(name, {})
        _, *allowed = inspect.signature(kind).parameters
        require_known(given, allowed, f"objective {name!r}")
        built[name] = kind(encoder, **given)
    if encoder.fusion is not None and not any(part.trains_fusion for part in built.values()):
        fitting = [name for name, kind in OBJECTIVES.items() if kind.trains_fusion]
        raise ValueError(
            f"{', '.join(chosen)} compares features before fusion, so the cross-attention would "
            f'stay as it was drawn; use fusion="concat", or add one of {", ".join(fitting)}'
        )
    if isinstance(names, str):
        return built[names]
    return WeightedSum(built, names)
