"""What did the hand do, what will it touch, and do sight and touch belong together?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    binary_cross_entropy_with_logits,
    mse_loss,
)

from representation.objectives.objective import (
    Batch,
    Objective,
    ObjectiveOutput,
    require_positive,
    require_senses,
)
from representation.timm_encoder import VisuotactileEncoder

TERMS = ("inverse", "contact", "alignment")
"""The closed set of this objective's terms."""


class Dynamics(Objective):
    """Self-supervision from acting: three small heads on the embeddings of two moments.

    - `inverse`: the action, from the embeddings before and after it; squared error.
    - `contact`: where each finger will be touched after the action, from the embedding before it
      and the action; the contact mask averaged over a coarse grid, cross-entropy. In this task
      the fingers always hold the plug, so "is there contact?" has one answer, and "where?" many.
    - `alignment`: whether what is touched is of the same moment as what is seen; half of the
      pairs are mixed up within the batch, cross-entropy.

    Their sum is the loss. Proprioception is no input: it holds the action.

    Args:
        encoder: For its sizes.
        terms: Those to sum.
        hidden_dim: Width of the heads' hidden layer.
        contact_grid: Cells along a side of the predicted masks.
        action_size: Numbers in an action.
        fingers: Masks that are predicted; None for the encoder's, and 2 if it reads none.

    Raises:
        ValueError: If a setting is not allowed, or "alignment" is asked of a single sense.

    Source: Lee et al. 2019 ("Making Sense of Vision and Touch"), section IV-B, for the contact of
    the next step and the alignment; the inverse model, in the place of their optical flow, from
    Pathak et al. 2017 (ICM), equation 2.
    """

    keys = ("action", "next_contact")
    reads_next = True

    def __init__(
        self,
        encoder: VisuotactileEncoder,
        *,
        terms: Sequence[str] = TERMS,
        hidden_dim: int = 256,
        contact_grid: int = 8,
        action_size: int = 5,
        fingers: int | None = None,
    ) -> None:
        super().__init__()
        if not terms or isinstance(terms, str) or not set(terms) <= set(TERMS):
            raise ValueError(
                f"terms={terms!r} is not allowed; terms must be one or more of {', '.join(TERMS)}"
            )
        if "alignment" in terms:
            require_senses(encoder, "dynamics")
        require_positive(hidden_dim=hidden_dim, contact_grid=contact_grid, action_size=action_size)
        self.terms = tuple(term for term in TERMS if term in terms)
        self.contact_grid = contact_grid
        if fingers is None:
            fingers = encoder.config.images.get("contact", (2,))[0]
        size, cells = encoder.embedding_size, fingers * contact_grid**2
        widths = {
            "inverse": (2 * size, action_size),
            "contact": (size + action_size, cells),
            "alignment": (size, 1),
        }
        self.heads = nn.ModuleDict()
        for term in self.terms:
            taken, given = widths[term]
            self.heads[term] = nn.Sequential(
                nn.Linear(taken, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, given)
            )

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; metrics are the terms and `alignment_accuracy`."""
        encoded = encoder.encode(encoder.preprocess(batch))
        embedding, action = encoder.fuse(encoded), batch["action"]
        losses: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        if "inverse" in self.terms:
            after = encoder({key: batch[f"next_{key}"] for key in encoder.keys})
            predicted = self.heads["inverse"](torch.cat([embedding, after], dim=1))
            losses["inverse"] = mse_loss(predicted, action)
        if "contact" in self.terms:
            logits = self.heads["contact"](torch.cat([embedding, action], dim=1))
            target = contact_cells(batch["next_contact"], self.contact_grid)
            losses["contact"] = binary_cross_entropy_with_logits(logits, target)
        if "alignment" in self.terms:
            mixed = mix_up(len(action), action.device, generator)
            first = next(iter(encoder.config.senses.values()))  # vision; the others are mixed up
            pairs = {k: value if k in first else value[mixed] for k, value in encoded.items()}
            logits = self.heads["alignment"](encoder.fuse(pairs))[:, 0]
            same = mixed == torch.arange(len(mixed), device=mixed.device)
            losses["alignment"] = binary_cross_entropy_with_logits(logits, same.to(logits.dtype))
            metrics["alignment_accuracy"] = ((logits.detach() > 0) == same).float().mean()
        metrics |= {term: loss.detach() for term, loss in losses.items()}
        return ObjectiveOutput(torch.stack(list(losses.values())).sum(), metrics)


def contact_cells(contact: Tensor, grid: int) -> Tensor:
    """The part of each cell of a coarse grid that is in contact, (B, F * G * G), float32.

    Args:
        contact: Contact masks, (B, F, H, W), in {0, 1}.
        grid: Cells along a side, G.
    """
    return adaptive_avg_pool2d(contact.float(), grid).flatten(1)


def mix_up(count: int, device: torch.device, generator: Generator | None = None) -> Tensor:
    """Whose touch each of `count` samples, at least 2, gets: half keep their own.

    Returns:
        Indices, (count,), int64; equal to the sample's own index where it keeps its own.
    """
    drawn_on = device if generator is None else generator.device
    shuffled = torch.randperm(count, generator=generator, device=drawn_on)
    # A cycle through the chosen ones: everyone gets another's, at random.
    chosen = shuffled[: max(count // 2, 2)]
    partners = torch.arange(count, device=drawn_on)
    partners[chosen] = chosen.roll(1)
    return partners.to(device)
