# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from pathlib import Path

import pytest
import torch
from helpers.hf_models import VOCAB_SIZE, tiny_gemma, tiny_llama, tiny_qwen2
from omegaconf import OmegaConf
from torchtune import config, training
from torchtune.training.checkpointing import FullModelHFCheckpointer
from transformers import AutoModelForCausalLM

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ["llama3_8B_mos", "gemma_2B_mos", "qwen1_5_0.5B_mos"]
FAMILIES = [(tiny_llama, "LLAMA3"), (tiny_gemma, "GEMMA"), (tiny_qwen2, "QWEN2")]


def load(name: str):
    return OmegaConf.load(CONFIGS / f"{name}.yaml")


def checkpointer(source: Path, files: list[str], output_dir: Path, model_type: str):
    return FullModelHFCheckpointer(
        checkpoint_dir=str(source),
        checkpoint_files=files,
        model_type=model_type,
        output_dir=str(output_dir),
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama3_8B_mos", 8_030_261_248),
        ("gemma_2B_mos", 2_506_172_416),
        ("qwen1_5_0.5B_mos", 463_987_712),
    ],
)
def test_the_model_has_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        model = config.instantiate(load(name).model)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_s_settings(name):
    cfg = load(name)
    gpus = 8
    assert gpus * cfg.batch_size * cfg.gradient_accumulation_steps == 64
    assert f"--nproc_per_node {gpus} " in (CONFIGS / f"{name}.yaml").read_text()
    assert cfg.epochs == 3
    assert cfg.optimizer._component_ == "torch.optim.AdamW"
    assert cfg.optimizer.lr == 1e-5
    assert cfg.scorer.lr == 1e-4
    assert cfg.scorer.update_every == 100
    assert cfg.reward.batch_size == 64
    assert cfg.reward.smoothing == 0.9
    assert cfg.sampler.draw == "batch"
    assert float(cfg.sampler.temperature) == float("inf")
    assert list(cfg.dataset) == ["mathematics", "medicine", "general", "nlp"]


@pytest.mark.parametrize("name", NAMES)
def test_the_schedule_is_linear_with_a_tenth_of_warm_up(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = config.instantiate(
        load(name).lr_scheduler, optimizer, num_training_steps=20, last_epoch=-1
    )
    rates = []
    for _ in range(20):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0, 0.5] + [(20 - t) / 18 for t in range(2, 20)])


@pytest.mark.parametrize(("make", "model_type"), FAMILIES)
def test_hf_checkpoint_loads_trains_and_exports(make, model_type, tmp_path):
    source = tmp_path / "hf"
    hf_model, builder = make(source)
    model = config.instantiate(OmegaConf.create(builder))
    ours = checkpointer(source, ["model.safetensors"], tmp_path / "out", model_type)
    model.load_state_dict(ours.load_checkpoint()[training.MODEL_KEY])

    tokens = torch.randint(VOCAB_SIZE, (3, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(tokens)
        torch.testing.assert_close(before, hf_model(tokens).logits, atol=1e-4, rtol=1e-4)
    assert before.std() > 0.5

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        logits = model(tokens)[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        after = model(tokens)
    assert (after - before).abs().max() > 0.1

    ours.save_checkpoint({training.MODEL_KEY: model.state_dict()}, epoch=0)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "epoch_0").eval()
    assert exported.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(exported(tokens).logits, after, atol=1e-4, rtol=1e-4)
