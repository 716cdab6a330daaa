from __future__ import annotations

import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from two_processes import OBJECTIVES, learn

from representation.objectives.gather import gather, process_rank


def test_one_process_has_it_all():
    tensor = torch.ones(3, 2)
    assert gather(tensor) is tensor
    assert process_rank() == 0


def test_two_processes_learn_from_half_of_the_batch_each_what_one_learns_from_all(tmp_path):
    generator = torch.Generator().manual_seed(0)
    batches = {
        f"{part}_{key}": torch.randn(6, 16, generator=generator)
        for part in ("first", "second")
        for key in ("depth", "contact")
    }
    save_file(batches, tmp_path / "batches.safetensors")
    threads = torch.get_num_threads()
    learn(0, 1, str(tmp_path))
    torch.set_num_threads(threads)
    mp.spawn(learn, args=(2, str(tmp_path)), nprocs=2)
    one, two = (load_file(tmp_path / f"{count}.safetensors") for count in (1, 2))
    assert one.keys() == two.keys()
    for objective in OBJECTIVES:
        assert any(name.startswith(f"{objective} gradient vision") for name in one)
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
