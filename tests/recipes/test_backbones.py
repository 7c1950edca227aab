# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The paper's configs, each with a small sibling of its model in place of the published one."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2
from helpers.runs import tune
from omegaconf import OmegaConf
from safetensors import safe_open
from torch.nn.functional import cross_entropy
from torchtune import config, training
from torchtune.data import padded_collate_sft
from torchtune.training.checkpointing import FullModelHFCheckpointer
from transformers import AutoModelForCausalLM, PreTrainedModel

from mos_tune.datasets import skill_dataset
from mos_tune.tokenizers import CharTokenizer
from mos_tune.training.config import check_config

ROOT = Path(__file__).parents[2]
BACKBONES = [
    ("llama3_8B_mos", tiny_llama),
    ("gemma_2B_mos", tiny_gemma),
    ("qwen1_5_0.5B_mos", tiny_qwen2),
]
STEPS = 3
SKILLS = {"mathematics": "count", "medicine": "copy", "general": "sort", "nlp": "reverse"}
EXPORTED_FILES = ["model-00001-of-00001.safetensors"]


def write_config(name: str, model: dict, checkpoint: Path, folder: Path) -> Path:
    """Keep of a config all that does not name something to download or a GPU."""
    cfg = OmegaConf.load(ROOT / "configs" / f"{name}.yaml")
    assert list(cfg.dataset) == list(SKILLS)
    cfg.model = model
    cfg.tokenizer = {"_component_": "mos_tune.tokenizers.CharTokenizer", "max_seq_len": 64}
    for dataset, skill in SKILLS.items():
        cfg.dataset[dataset] = {
            "_component_": "mos_tune.datasets.skill_dataset",
            "skill": skill,
            "size": 40,
        }
    cfg.checkpointer.checkpoint_dir = str(checkpoint)
    cfg.checkpointer.checkpoint_files = ["model.safetensors"]
    cfg.output_dir = str(folder / "out")
    cfg.device, cfg.dtype, cfg.optimizer.fused = "cpu", "fp32", False
    cfg.epochs, cfg.max_steps_per_epoch = 1, STEPS
    cfg.batch_size, cfg.gradient_accumulation_steps = 4, 2
    cfg.optimizer.lr = 1e-2
    cfg.scorer.update_every = 2
    cfg.reward.batch_size = 8
    cfg.validation.every_n_steps = 2
    cfg.validation.max_examples = 2
    file = folder / f"{name}.yaml"
    OmegaConf.save(cfg, file)
    return file


def mean_response_loss(hf_model: PreTrainedModel) -> float:
    dataset = skill_dataset(CharTokenizer(), skill="copy", size=40)
    batch = padded_collate_sft([dataset[i] for i in range(40)], padding_idx=0, ignore_idx=-100)
    with torch.no_grad():
        logits = hf_model(batch["tokens"]).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten()).item()


@pytest.mark.parametrize("name", [name for name, _ in BACKBONES])
def test_everything_the_config_names_exists(name):
    cfg = OmegaConf.load(ROOT / "configs" / f"{name}.yaml")
    check_config(cfg)
    builders = [section.get("builder", section._component_) for section in cfg.dataset.values()]
    for builder in builders:
        module, _, function = builder.rpartition(".")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(("name", "make"), BACKBONES)
def test_a_small_sibling_trains_and_is_exported(name, make, tmp_path):
    before, builder = make(tmp_path / "hf")
    tune(write_config(name, builder, tmp_path / "hf", tmp_path), processes=1)

    (log,) = (tmp_path / "out" / "logs").glob("log_*.txt")
    assert f"Step {STEPS} | loss:" in log.read_text()

    export = tmp_path / "out" / "epoch_0"
    after = AutoModelForCausalLM.from_pretrained(export).eval()
    # A mistake that export and import have in common would leave equal logits but a worse loss.
    assert mean_response_loss(after) < 0.9 * mean_response_loss(before)

    with safe_open(export / EXPORTED_FILES[0], framework="pt") as file:
        index = json.loads((export / "model.safetensors.index.json").read_text())
        assert set(index["weight_map"]) == set(file.keys())

    model = config.instantiate(OmegaConf.create(builder))
    checkpointer = FullModelHFCheckpointer(
        checkpoint_dir=str(export),
        checkpoint_files=EXPORTED_FILES,
        model_type=OmegaConf.load(ROOT / "configs" / f"{name}.yaml").checkpointer.model_type,
        output_dir=str(tmp_path / "unused"),
    )
    model.load_state_dict(checkpointer.load_checkpoint()[training.MODEL_KEY])
    tokens = torch.randint(100, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(after(tokens).logits, model(tokens), atol=1e-4, rtol=1e-4)
