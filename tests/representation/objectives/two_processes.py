"""What a process does when a batch is spread over several; imported by each of them.

The encoder is two linear layers, so that a process starts without importing timm.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from representation.objectives.infonce import InfoNCE
from representation.objectives.moco import MoCo
from representation.objectives.soft_contrastive import SoftContrastive

OBJECTIVES = {"infonce": InfoNCE, "soft_contrastive": SoftContrastive, "moco": MoCo}


class LinearEncoder(nn.Module):
    """Features that are linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_sizes = {"vision": 8, "touch": 8}
        self.vision, self.touch = nn.Linear(16, 8), nn.Linear(16, 8)

    def features(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"vision": self.vision(batch["depth"]), "touch": self.touch(batch["contact"])}


def learn(rank: int, processes: int, folder: str) -> None:
    """Each objective twice on this process's part of the batches; rank 0 writes the means."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes
        )
    batches = load_file(f"{folder}/batches.safetensors")
    results = {}
    for name, kind in OBJECTIVES.items():
        torch.manual_seed(0)
        encoder = LinearEncoder()
        objective = kind(encoder, projection_dim=4)
        for part in ("first", "second"):
            batch = {
                key: batches[f"{part}_{key}"].chunk(processes)[rank] for key in ("depth", "contact")
            }
            output = objective(encoder, batch)
            output.loss.backward()
            results[f"{name} {part} loss"] = output.loss.detach()
            results |= {f"{name} {part} {key}": value for key, value in output.metrics.items()}
        for module in (encoder, objective):
            for key, value in module.named_parameters():
                if value.grad is not None:
                    results[f"{name} gradient {key}"] = value.grad
        if name == "moco":
            results["moco queue"] = objective.queues["touch"].keys
    for value in results.values():
        if processes > 1:
            dist.all_reduce(value)
        value /= processes
    if rank == 0:
        save_file(results, f"{folder}/{processes}.safetensors")
    if processes > 1:
        dist.destroy_process_group()
