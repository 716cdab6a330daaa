"""Which connector is it? The paper's classifier."""

from __future__ import annotations

from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from representation.objectives.objective import Batch, Objective, ObjectiveOutput, require_positive
from representation.timm_encoder import VisuotactileEncoder


class Classification(Objective):
    """Cross-entropy of one linear layer on the embedding.

    With fusion "concat" the embedding is the backbones' features side by side; with a single
    sense it is that one's, the paper's ablation.

    Args:
        encoder: For its sizes.
        num_classes: Number of classes; `VTInsert-v0` has four connectors by default.

    Source: the paper, section C, "Classification network", and figure 4.
    """

    keys = ("connector",)

    def __init__(self, encoder: VisuotactileEncoder, *, num_classes: int = 4) -> None:
        super().__init__()
        require_positive(num_classes=num_classes)
        self.classifier = nn.Linear(encoder.embedding_size, num_classes)

    def forward(
        self, encoder: VisuotactileEncoder, batch: Batch, generator: Generator | None = None
    ) -> ObjectiveOutput:
        """The loss; the metric is `accuracy`."""
        logits, labels = self.logits(encoder, batch), batch["connector"]
        return told(cross_entropy(logits, labels), logits, labels)

    def logits(self, encoder: VisuotactileEncoder, batch: Batch) -> Tensor:
        """Scores of the classes for observations, (B, num_classes)."""
        scores: Tensor = self.classifier(encoder(batch))
        return scores


def told(loss: Tensor, logits: Tensor, labels: Tensor) -> ObjectiveOutput:
    """A loss, and the `accuracy` of scores of the classes, (B, num_classes), on labels, (B,)."""
    accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
    return ObjectiveOutput(loss, {"accuracy": accuracy})
