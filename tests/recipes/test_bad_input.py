# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is wrong with a config or its data is said once, in one sentence, before the model loads."""

import json
import re

import pytest
from helpers.runs import config, tune
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.training.recipe import MixtureRecipe


class ModelIsLoaded(AssertionError):
    """The config went through all checks."""


class StockUpToTheModel:
    """Stands where the stock recipe would load the model."""

    def __init__(self, cfg):
        self.seed = cfg.seed
        self.total_epochs = cfg.epochs
        self._resume_from_checkpoint = cfg.resume_from_checkpoint

    def setup(self, cfg):
        raise ModelIsLoaded


class Recipe(MixtureRecipe, StockUpToTheModel):
    pass


def check(settings):
    cfg = OmegaConf.create(settings)
    Recipe(cfg=cfg).setup(cfg=cfg)


@pytest.fixture
def settings(tmp_path):
    return config(tmp_path)


def changed(settings, change):
    for path, value in change.items():
        *parents, last = path.split(".")
        section = settings
        for parent in parents:
            section = section[parent]
        section[last] = value
    return settings


def test_a_good_config_gets_to_the_model(settings):
    with pytest.raises(ModelIsLoaded):
        check(settings)


SKILL = "mos_tune.datasets.skill_dataset"
SCHEDULE = "mos_tune.training.get_linear_schedule_with_warmup"
BAD = {
    "no dataset": ({"dataset": {}}, "dataset names no dataset"),
    "one dataset without a name": (
        {"dataset": {"_component_": SKILL, "skill": "copy", "size": 9}},
        "dataset must map a name to a builder",
    ),
    "a list of datasets": ({"dataset": [{"_component_": SKILL}]}, "dataset must map a name"),
    "a dataset without builder": (
        {"dataset.copy": {"size": 5}},
        r"dataset.copy needs a builder as _component_, got \{'size': 5\}",
    ),
    "a dataset that is no section": ({"dataset.copy": 3}, "dataset.copy needs a builder"),
    "a dataset's unknown option": (
        {"dataset.copy.colour": "red"},
        f"dataset.copy.colour is no option of {SKILL}, which takes skill, size",
    ),
    "a dataset's bad value": (
        {"dataset.copy.skill": "fly"},
        "dataset.copy: skill must be one of .*'fly'",
    ),
    "a dataset's missing option": (
        {"dataset.copy": {"_component_": SKILL}},
        "dataset.copy .*missing 2 required keyword-only arguments: 'skill' and 'size'",
    ),
    "packing": ({"dataset.copy.packed": True}, "dataset.copy.packed is True; .*: False"),
    "a builder that does not exist": (
        {"dataset.copy._component_": "mos_tune.datasets.skil_dataset"},
        "dataset.copy._component_ 'mos_tune.datasets.skil_dataset' does not exist",
    ),
    "an optimizer that does not exist": (
        {"optimizer._component_": "torch.optim.Adamw"},
        "optimizer._component_ 'torch.optim.Adamw' does not exist",
    ),
    "a reward that does not exist": (
        {"reward._component_": "mos_tune.rewards.Luck"},
        "reward._component_ 'mos_tune.rewards.Luck' does not exist",
    ),
    "a reward without held-out examples": (
        {"reward._component_": "mos_tune.rewards.UncertaintyReward", "validation": None},
        "validation is null, but reward mos_tune.rewards.UncertaintyReward measures on held-out",
    ),
    "a reward's gradients with the optimizer in backward": (
        {"reward._component_": "mos_tune.rewards.GradientReward", "optimizer_in_bwd": True},
        "optimizer_in_bwd is True, but reward mos_tune.rewards.GradientReward .*use False",
    ),
    "a package that does not exist": (
        {"scorer._component_": "my_scorer.Mine"},
        "scorer._component_ 'my_scorer.Mine' does not exist.*module 'my_scorer' is installed",
    ),
    "unknown optimizer key": ({"optimizer.foo": 1}, "optimizer.foo is no option of torch.optim"),
    "unknown schedule key": (
        {"lr_scheduler": {"_component_": SCHEDULE, "num_training_steps": 9}},
        f"lr_scheduler.num_training_steps is no option of {SCHEDULE}, which takes warmup_fraction$",
    ),
    "unknown sampler key": (
        {"sampler.temprature": 1},
        "sampler.temprature is no option of mos_tune.mixture.MixtureSampler, "
        "which takes temperature, draw$",
    ),
    "unknown scorer key": (
        {"scorer.hidden": 1},
        "scorer.hidden is no option .*update_every, lr, hidden_dim, inner_steps, optimizer$",
    ),
    "unknown reward key": (
        {"reward.size": 1},
        "reward.size is no option .*takes batch_size, smoothing, specialist$",
    ),
    "unknown validation key": (
        {"validation.every": 1},
        "validation.every is no option; there are every_n_steps, fraction, dataset, max_examples",
    ),
    "cold": ({"sampler.temperature": 0}, "sampler.temperature must be .*above 0.* got 0"),
    "draws": ({"sampler.draw": "token"}, "sampler.draw must be 'example' or 'batch', got 'token'"),
    "never updated": ({"scorer.update_every": 0}, "scorer.update_every must be .* got 0"),
    "unknown specialist": (
        {"reward.specialist": "law"},
        "reward.specialist is 'law', which is no dataset; .* count, copy, sort, reverse",
    ),
    "scorer without reward": ({"reward": None}, "reward is null but scorer is not"),
    "smoothing": ({"reward.smoothing": 2}, "reward.smoothing must lie above 0 .* got 2"),
    "validation twice": (
        {"validation.dataset": {"count": {"_component_": SKILL}}},
        "validation needs either fraction or dataset",
    ),
    "validation neither": ({"validation.fraction": None}, "either fraction or dataset"),
    "validation fraction": ({"validation.fraction": 1.5}, "between 0 and 1, got 1.5"),
    "validation names": (
        {"validation": {"every_n_steps": 1, "max_examples": 1, "dataset": {"copy": {}}}},
        r"validation.dataset names \['copy'\], it must name .*'count', 'copy', 'sort', 'reverse'",
    ),
    "a dataset called mean": ({"dataset.mean": {"_component_": SKILL}}, "dataset.mean must have"),
    "offload without shards": (
        {"fsdp_cpu_offload": True},
        "fsdp_cpu_offload is True, .* 1 process",
    ),
    "validation never": ({"validation.every_n_steps": 0}, "validation.every_n_steps .* got 0"),
    "batch size": ({"batch_size": 0}, "batch_size must be .* at least 1, got 0"),
    "accumulation": ({"gradient_accumulation_steps": 1.5}, "gradient_accumulation_steps .* 1.5"),
    "epochs": ({"epochs": "many"}, "epochs must be a whole number of at least 1, got many"),
    "a global batch larger than everything": (
        {"batch_size": 1000},
        "the datasets hold 576 training examples together, fewer than one global batch of 1000",
    ),
    "tensor parallelism": ({"tensor_parallel_dim": 2}, "tensor_parallel_dim is 2"),
    "async checkpoints": ({"enable_async_checkpointing": True}, "enable_async_checkpointing is"),
    "left padding": (
        {"collate_fn": "torchtune.data.left_pad_sequence"},
        "left_pad_sequence pads on the left",
    ),
    "step checkpoints without keep_last": (
        {"checkpoint": {"every_n_steps": 5}},
        "checkpoint.keep_last must be a whole number of at least 1, got None",
    ),
    "step checkpoints every 0 steps": (
        {"checkpoint": {"every_n_steps": 0, "keep_last": 1}},
        "checkpoint.every_n_steps must be a whole number of at least 1, got 0",
    ),
    "unknown checkpoint key": (
        {"checkpoint": {"every": 5}},
        "checkpoint.every is no option; there are every_n_steps, keep_last",
    ),
    "checkpoint as a number": ({"checkpoint": 5}, "checkpoint must be a section or null, got 5"),
    "step checkpoints without a seed": (
        {"checkpoint": {"every_n_steps": 5, "keep_last": 1}, "seed": None},
        "seed is null",
    ),
    "no response within the length": (
        {"tokenizer.max_seq_len": 5},
        "dataset.count: none of its 400 examples has a response token; .*tokenizer.max_seq_len",
    ),
    "no checkpoint directory": (
        {"checkpointer.checkpoint_dir": "/nowhere/model"},
        "checkpointer .*/nowhere/model",
    ),
    "no checkpoint file": (
        {"checkpointer.checkpoint_files": ["other.safetensors"]},
        "checkpointer .*other.safetensors",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_one_sentence_before_the_model(settings, change, message):
    with pytest.raises(UserError) as caught:
        check(changed(settings, change))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["optimizer", "loss", "output_dir", "sampler", "dataset", "seed"])
def test_a_missing_key_is_named(settings, key):
    del settings[key]
    with pytest.raises(UserError, match=f"the config lacks {key}"):
        check(settings)


def json_dataset(file, **options):
    return {
        "_component_": "torchtune.datasets.instruct_dataset",
        "source": "json",
        "data_files": str(file),
        "split": "train",
        **options,
    }


def test_a_missing_file_is_named(settings, tmp_path):
    settings["dataset"]["copy"] = json_dataset(tmp_path / "gone.jsonl")
    with pytest.raises(UserError, match=r"dataset.copy .*gone.jsonl"):
        check(settings)


def test_an_empty_file_is_named(settings, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    settings["dataset"]["copy"] = json_dataset(tmp_path / "empty.jsonl")
    with pytest.raises(UserError, match="dataset.copy"):
        check(settings)


def test_a_row_without_the_column_is_named(settings, tmp_path):
    rows = [json.dumps({"question": "a", "output": "b"})] * 30
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    settings["dataset"]["copy"] = json_dataset(tmp_path / "rows.jsonl")
    with pytest.raises(
        UserError, match="dataset.copy: example 0 cannot be read: KeyError: 'input'"
    ):
        check(settings)


def test_a_small_dataset_is_said_to_wrap(settings, caplog):
    settings["batch_size"] = 40
    with pytest.raises(ModelIsLoaded):
        check(settings)
    assert (
        "dataset.reverse has 27 training examples, fewer than the global batch of 40" in caplog.text
    )
    assert "dataset.count" not in caplog.text


def said(run):
    return re.findall(r"mos-tune stopped: (.*)", run.output)


def test_the_error_appears_once_and_without_our_traceback(settings):
    run = tune(changed(settings, {"sampler.temperature": -1}), ok=False)
    assert run.code != 0
    (message,) = said(run)
    assert message == "sampler.temperature must be a number above 0 (inf for uniform), got -1"
    assert "mos_tune/" not in run.output
    assert not (run.directory / "mixture.jsonl").exists()


def test_one_name_twice_is_an_error(tmp_path):
    file = tmp_path / "twice.yaml"
    file.write_text("dataset:\n  a: {size: 1}\n  a: {size: 2}\n")
    (message,) = said(tune(file, ok=False))
    assert "found duplicate key a" in message


def test_a_diverging_loss_stops_the_run_and_keeps_what_is_written(settings):
    run = tune(changed(settings, {"optimizer.lr": 1e12}), ok=False)
    assert run.code != 0
    (message,) = said(run)
    assert re.search(r"(training loss|reward) of dataset\.\w+ is (nan|inf)", message)
    assert run.events("start") and run.events("validation")


def test_options_that_do_not_go_together_are_said_by_torchtune_in_one_line(settings):
    run = tune(
        changed(settings, {"optimizer_in_bwd": True, "gradient_accumulation_steps": 2}), ok=False
    )
    (message,) = said(run)
    assert "Gradient accumulation is not supported with optimizer in bwd" in message
