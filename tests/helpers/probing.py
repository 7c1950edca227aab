# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A tiny model in torchtune and in transformers, random examples, and probes of them."""

from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch.distributed.device_mesh import init_device_mesh
from torchtune import config, training
from torchtune.data import padded_collate_sft
from torchtune.models.llama3 import lora_llama3
from torchtune.modules.peft import get_adapter_params, set_trainable_params

from mos_tune.rewards import Probes

PAD_ID = 0


def torchtune_model(
    builder: dict, directory: Path, model_type: str, file: str = "model.safetensors"
) -> torch.nn.Module:
    """Load a tiny HF checkpoint as the recipes do."""
    checkpointer = training.FullModelHFCheckpointer(
        checkpoint_dir=str(directory),
        checkpoint_files=[file],
        model_type=model_type,
        output_dir=f"{directory}_out",
    )
    model = config.instantiate(OmegaConf.create(builder))
    model.load_state_dict(checkpointer.load_checkpoint()[training.MODEL_KEY])
    return model


def lora_model(builder: dict, directory: Path, model_type: str) -> torch.nn.Module:
    """LoRA in float64 with adapters that have been trained, so that both halves have a gradient."""
    sizes = {key: value for key, value in builder.items() if key != "_component_"}
    adapted = {"lora_attn_modules": ["q_proj", "v_proj"], "apply_lora_to_mlp": True}
    model = lora_llama3(**sizes, **adapted, lora_rank=4, lora_alpha=8)
    base = torchtune_model(builder, directory, model_type).state_dict()
    generator = torch.Generator().manual_seed(3)
    adapters = {
        name: 0.1 * torch.randn(weight.shape, generator=generator)
        for name, weight in get_adapter_params(model).items()
    }
    model.load_state_dict(base | adapters)
    set_trainable_params(model, adapters)
    return model.double()


def shard(model: torch.nn.Module, world_size: int, names: list[str] | None = None) -> None:
    """Shard with FSDP2 as the recipes do; ``names`` are sharded on their own."""
    mesh = init_device_mesh("cpu", (world_size,), mesh_dim_names=("dp",))
    conditions = [partial(training.get_shard_conditions, names_to_match=names)]
    training.shard_model(model, conditions, cpu_offload=False, dp_mesh=mesh["dp"])


def examples(count: int, seed: int, vocab_size: int = 256) -> list[dict]:
    """Rows of different lengths, a third of each a prompt; pad_id is a real token in each."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(6, 40, (1,), generator=generator))
        tokens = torch.randint(0, vocab_size, (length,), generator=generator).tolist()
        tokens[length // 2] = PAD_ID
        prompt = length // 3
        rows.append({"tokens": tokens, "labels": [-100] * prompt + tokens[prompt:]})
    return rows


def probes(datasets: dict, indices: dict | None = None, batch_size: int = 3, **where) -> Probes:
    """Probes of all examples, or of those named."""
    return Probes(
        datasets=datasets,
        indices=indices or {name: range(len(rows)) for name, rows in datasets.items()},
        collate=partial(padded_collate_sft, padding_idx=PAD_ID, ignore_idx=-100),
        batch_size=batch_size,
        device=torch.device("cpu"),
        **where,
    )
