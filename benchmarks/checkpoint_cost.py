# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What checkpoints and exports cost, for docs/checkpoints.md.

    torchrun --nproc_per_node 2 benchmarks/checkpoint_cost.py [--layers 30 --dim 576 ...]

A Llama of the given shape (default: SmolLM2-135M's) with random weights and AdamW, in fp32, is
saved and loaded by the recipe's own step checkpoints, and exported by torchtune's checkpointer.
Every number is the second of two, on rank 0; the files are in the page cache when they are read.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.fsdp import fully_shard
from torchtune import training
from torchtune.models.convert_weights import tune_to_hf
from torchtune.models.llama3_2 import llama3_2

from mos_tune.checkpoint.manager import StepCheckpoints


def build(shape: argparse.Namespace) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = llama3_2(
        vocab_size=shape.vocab,
        num_layers=shape.layers,
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        embed_dim=shape.dim,
        intermediate_dim=shape.intermediate_dim,
        max_seq_len=128,
    )
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def seconds(action: Callable[[], Any]) -> float:
    for _ in range(2):
        dist.barrier()
        started = time.perf_counter()
        action()
        taken = time.perf_counter() - started
    return taken


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def exporter(folder: Path, model: torch.nn.Module, shape: argparse.Namespace) -> Callable[[], None]:
    """Make an export as the stock recipe does at an epoch's end."""
    base, rank = folder / "base", dist.get_rank()
    weights = training.gather_cpu_state_dict(model, rank == 0)
    if rank == 0:
        base.mkdir()
        hf = tune_to_hf(weights, shape.heads, shape.kv_heads, shape.dim)
        save_file({name: value.contiguous() for name, value in hf.items()}, base / "m.safetensors")
        heads = {"num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads}
        (base / "config.json").write_text(json.dumps(heads | {"hidden_size": shape.dim}))
        checkpointer = training.FullModelHFCheckpointer(
            str(base), ["m.safetensors"], "LLAMA3_2", output_dir=str(folder / "export")
        )
        checkpointer.load_checkpoint()

    def export() -> None:
        gathered = training.gather_cpu_state_dict(model, rank == 0)
        if rank == 0:
            state = {training.MODEL_KEY: gathered}
            checkpointer.save_checkpoint(state, epoch=0, intermediate_checkpoint=False)
        dist.barrier()

    return export


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("layers", 30), ("dim", 576), ("intermediate_dim", 1536), ("heads", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--kv_heads", type=int, default=3)
    parser.add_argument("--vocab", type=int, default=49152)
    parser.add_argument("--output", type=Path, help="a folder of the disk to measure")
    shape = parser.parse_args()
    dist.init_process_group("gloo")
    where: list[Any] = [tempfile.mkdtemp(dir=shape.output) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(where)
    folder = Path(where[0])
    model, optimizer = build(shape)
    checkpoints = StepCheckpoints(folder / "checkpoints", 1)
    waits, writes = [], []

    def save() -> None:
        begun = time.perf_counter()
        checkpoints.save(len(waits) + 1, model, [optimizer], {})
        waits.append(time.perf_counter() - begun)
        checkpoints.wait()
        writes.append(time.perf_counter() - begun - waits[-1])

    seconds(save)
    verify = seconds(checkpoints.newest)
    saved = checkpoints.newest()
    assert saved is not None
    load = seconds(lambda: checkpoints.load(saved, model, [optimizer], set()))
    export = seconds(exporter(folder, model, shape))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if dist.get_rank() == 0:
        print(f"{parameters / 1e6:.1f} million parameters, {dist.get_world_size()} processes")
        for what, path in (("checkpoint", saved.folder), ("export", folder / "export" / "epoch_0")):
            print(f"{what}: {size(path) / 1e6:.0f} MB, {size(path) / parameters:.2f} B/parameter")
        print(f"training waits {waits[-1]:.2f} s, then {writes[-1]:.2f} s of writing beside it")
        print(f"checksums verified in {verify:.2f} s, loaded in {load:.2f} s")
        print(f"exported in {export:.2f} s")
        shutil.rmtree(folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
