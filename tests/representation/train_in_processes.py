"""A script that trains in several processes; each writes the encoder that it ends with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from memory_split import SIZE, MemorySplit
from safetensors.torch import save_file

from representation import EncoderConfig
from representation.pretraining.config import PretrainConfig
from representation.pretraining.training import make_fabric, make_source, pretrain

CONFIG = PretrainConfig(
    # Flattened tokens leave the class token's last layer without a gradient.
    encoder=EncoderConfig(
        backbone="test_vit",
        images={"depth": (1, SIZE, SIZE), "contact": (2, SIZE, SIZE)},
        pooling="flatten",
        embedding_dim=16,
    ),
    objective="infonce",
    batch_size=16,
    epochs=None,
    max_steps=2,
    learning_rate=1e-3,
)


def main(folder: Path, devices: int) -> None:
    """Train on the CPU."""
    torch.set_num_threads(1)
    fabric = make_fabric(CONFIG, devices=devices, accelerator="cpu")
    source = make_source(CONFIG, MemorySplit(), fabric)
    heldout = make_source(CONFIG, MemorySplit(32, seed=1), fabric, shuffle=False)
    result = pretrain(
        CONFIG, source, folder / "run", heldout=heldout, fabric=fabric, progress=False
    )
    state = {name: value.contiguous() for name, value in result.encoder.state_dict().items()}
    save_file(state, folder / f"rank-{fabric.global_rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
