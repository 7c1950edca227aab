# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is wrong with a config or its data is said once, in one sentence, before the model loads."""

import copy
import math
import re
import sys

import pytest
from helpers.checked import ModelIsLoaded, changed, check
from helpers.runs import config, tune
from omegaconf import OmegaConf

from mos_tune.errors import UserError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return config(tmp_path_factory.mktemp("base"))


@pytest.fixture
def settings(base, tmp_path):
    return copy.deepcopy(base) | {"output_dir": str(tmp_path / "run")}


def test_a_good_config_gets_to_the_model(settings):
    with pytest.raises(ModelIsLoaded):
        check(settings)


SKILL = "mos_tune.datasets.skill_dataset"
SCHEDULE = "mos_tune.training.get_linear_schedule_with_warmup"
PATTERNS = [[1 + int(bit) for bit in f"{k:06b}"] for k in range(60)]
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
    "a builder that raises": (
        {"dataset.copy": {"_component_": "helpers.components.open_ended", "file": "a.json"}},
        "dataset.copy .*open_ended.*: OSError: no file a.json",
    ),
    "packed": ({"dataset.copy.packed": "yes"}, "dataset.copy.packed must be .*, got 'yes'"),
    "what to do with bad rows": (
        {"dataset.copy.on_bad_row": "ignore"},
        "dataset.copy.on_bad_row must be 'stop' or 'skip', got 'ignore'",
    ),
    "bad rows as a truth": ({"dataset.copy.on_bad_row": True}, "on_bad_row must be .* got True"),
    "what to do with bad rows that are held out": (
        {
            "validation.fraction": None,
            "validation.dataset": {
                name: {"_component_": SKILL, "skill": "copy", "size": 9, "on_bad_row": "stopp"}
                for name in ("count", "copy", "sort", "reverse")
            },
        },
        "validation.dataset.count.on_bad_row must be 'stop' or 'skip', got 'stopp'",
    ),
    "examples longer than the model": (
        {"tokenizer.max_seq_len": None, "model.max_seq_len": 20},
        "dataset.count: example 0 has .. tokens, more than the model's max_seq_len 20; .* also "
        "dataset.copy: example 0 has",
    ),
    "packs longer than the model": (
        {"tokenizer.max_seq_len": 512, "dataset.copy.packed": True},
        "dataset.copy.packed is True, and packs have tokenizer.max_seq_len 512 tokens, more than "
        "the model's max_seq_len",
    ),
    "a token outside the embedding": (
        {"model.vocab_size": 50},
        r"dataset.count: example 0 has the token \d+, outside the model's embedding, .* 50 tokens",
    ),
    "padding outside the embedding": (
        {
            "dataset": {
                "a": {
                    "_component_": "helpers.components.rows_dataset",
                    "rows": [{"tokens": row, "labels": row} for row in PATTERNS],
                }
            },
            "model.vocab_size": 3,
        },
        "tokenizer pads with token 3, but the model's embedding has 3 tokens",
    ),
    "a negative token": (
        {
            "dataset.copy": {
                "_component_": "helpers.components.rows_dataset",
                "rows": [{"tokens": [1, -5, 9], "labels": [1, 8, 9]}],
            }
        },
        "dataset.copy: example 0 has the token -5, outside the model's embedding",
    ),
    "a label outside the embedding": (
        {
            "dataset.copy": {
                "_component_": "helpers.components.rows_dataset",
                "rows": [{"tokens": [1, 5, 9], "labels": [1, 8, -1]}],
            }
        },
        "dataset.copy: example 0 has the label -1, outside the model's embedding",
    ),
    "another number of labels": (
        {
            "dataset.copy": {
                "_component_": "helpers.components.rows_dataset",
                "rows": [{"tokens": [1, 5, 9], "labels": [1, 8]}],
            }
        },
        "dataset.copy: example 0 has 3 tokens and 2 labels",
    ),
    "twins as text": (
        {"validation.keep_twins": "yes"},
        "validation.keep_twins must be True or False, got 'yes'",
    ),
    "all examples held out elsewhere": (
        {
            "validation.fraction": None,
            "validation.dataset": {
                name: {"_component_": SKILL, "skill": "copy", "size": 60}
                for name in ("count", "copy", "sort", "reverse")
            },
        },
        "dataset.copy: all of its 60 training examples are also held out; .*keep_twins: True",
    ),
    "a selection that is no text": (
        {"dataset.copy.selection": ["a.jsonl"]},
        r"dataset.copy.selection must be the path of a file .*, got \['a.jsonl'\]",
    ),
    "a selection that is not there": (
        {"dataset.copy.selection": "/nowhere.jsonl"},
        "dataset.copy.selection /nowhere.jsonl does not exist, or is no file",
    ),
    "packing without a size": (
        {"dataset.copy.packed": True, "tokenizer.max_seq_len": None},
        "dataset.copy.packed is True, but tokenizer.max_seq_len, its size, is null",
    ),
    "packing with a collate function": (
        {"dataset.copy.packed": True, "collate_fn": "torchtune.data.padded_collate_sft"},
        "dataset.copy.packed is True, .* but collate_fn is torchtune.data.padded_collate_sft",
    ),
    "packed held-out examples": (
        {
            "validation.fraction": None,
            "validation.dataset": {
                name: {"_component_": SKILL, "skill": "copy", "size": 9, "packed": True}
                for name in ("count", "copy", "sort", "reverse")
            },
        },
        "validation.dataset.count.packed is True; held-out losses are of whole examples",
    ),
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
        "which takes temperature, weights, unit, draw$",
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
        "validation.every is no option; there are every_n_steps, max_examples, fraction, dataset, ",
    ),
    "cold": ({"sampler.temperature": 0}, "sampler.temperature must be .*above 0.* got 0"),
    "draws": ({"sampler.draw": "token"}, "sampler.draw must be 'example' or 'batch', got 'token'"),
    "a share of words": (
        {"sampler.unit": "words"},
        "sampler.unit must be one of seq.* got 'words'",
    ),
    "no patience": ({"early_stop": {"patience": 0}}, "early_stop.patience must be .* got 0"),
    "early stop of nothing": (
        {"early_stop": {"patience": 2}, "validation": None},
        "early_stop is {'patience': 2}, but validation is null; it needs held-out losses",
    ),
    "early stop by a mean": (
        {"early_stop": {"mean": True}},
        "early_stop.mean is no option; there are patience, min_delta",
    ),
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
    "epochs": ({"epochs": "many"}, "epochs must be a whole number of at least 1, got 'many'"),
    "a global batch larger than everything": (
        {"batch_size": 1000},
        "the datasets hold 576 training sequences .*, fewer than one global batch of 1000",
    ),
    "tensor parallelism": ({"tensor_parallel_dim": 2}, "tensor_parallel_dim is 2"),
    "async checkpoints": ({"enable_async_checkpointing": True}, "enable_async_checkpointing is"),
    "left padding": (
        {"collate_fn": "torchtune.data.left_pad_sequence"},
        "left_pad_sequence pads on the left",
    ),
    "step checkpoints that keep nothing": (
        {"checkpoint": {"every_n_steps": 5, "keep_last": None}},
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
        r"dataset.count: none of its 400 examples .* \(no response token, .*tokenizer.max_seq_len",
    ),
    "no checkpoint directory": (
        {"checkpointer.checkpoint_dir": "/nowhere/model"},
        "checkpointer .*/nowhere/model",
    ),
    "no checkpoint file": (
        {"checkpointer.checkpoint_files": ["other.safetensors"]},
        "checkpointer .*other.safetensors",
    ),
    "learning rate nan": ({"optimizer.lr": math.nan}, "optimizer.lr must be a finite .* got nan"),
    "learning rate as text": ({"optimizer.lr": "1e-4"}, "optimizer.lr .* got '1e-4'"),
    "negative learning rate": ({"optimizer.lr": -1e-4}, "optimizer.lr .* got -0.0001"),
    "weight decay nan": ({"optimizer.weight_decay": math.nan}, "^optimizer .*nan"),
    "betas as a number": ({"optimizer.betas": 0.9}, "^optimizer .*AdamW"),
    "a schedule of text": (
        {"lr_scheduler": {"_component_": SCHEDULE, "warmup_fraction": "x"}},
        "lr_scheduler.*warmup_fraction .*'x'",
    ),
    "a model of text": ({"model.embed_dim": "wide"}, "^model .*llama3"),
    "negative layers": ({"model.num_heads": -4}, "^model .*llama3"),
    "a model without a size": ({"model.num_heads": None}, "^model .*llama3"),
    "logging never": ({"log_every_n_steps": 0}, "log_every_n_steps .* at least 1, got 0"),
    "a negative seed": ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    "a seed of text": ({"seed": "one"}, "seed must be .* got 'one'"),
    "resume as text": ({"resume_from_checkpoint": "no"}, "resume_from_checkpoint .* got 'no'"),
    "shuffle as a number": ({"shuffle": 1}, "shuffle must be True or False, got 1"),
    "log_examples as text": ({"log_examples": "yes"}, "log_examples .* got 'yes'"),
    "steps as a truth": ({"max_steps_per_epoch": True}, "max_steps_per_epoch .* got True"),
    "temperature nan": ({"sampler.temperature": math.nan}, "sampler.temperature .* got nan"),
    "temperature as text": ({"sampler.temperature": "hot"}, "sampler.temperature .* got 'hot'"),
    "temperature as a truth": ({"sampler.temperature": True}, "sampler.temperature .* got True"),
    "temperature as a list": ({"sampler.temperature": [1]}, r"sampler.temperature .* got \[1\]"),
    "scorer lr nan": ({"scorer.lr": math.nan}, "scorer.lr .* got nan"),
    "scorer lr inf": ({"scorer.lr": math.inf}, "scorer.lr .* got inf"),
    "scorer lr as text": ({"scorer.lr": "fast"}, "scorer.lr .* got 'fast'"),
    "update_every as a truth": ({"scorer.update_every": True}, "scorer.update_every .* got True"),
    "negative width": ({"scorer.hidden_dim": -8}, "scorer.hidden_dim .* got -8"),
    "inner steps as a fraction": ({"scorer.inner_steps": 1.5}, "scorer.inner_steps .* got 1.5"),
    "scorer as a list": ({"scorer": [1]}, r"scorer must name a builder .* got \[1\]"),
    "reward as text": ({"reward": "difficulty"}, "reward must name a builder .* got difficulty"),
    "probes as a truth": ({"reward.batch_size": True}, "reward.batch_size .* got True"),
    "no probes": ({"reward.batch_size": 0}, "reward.batch_size .* got 0"),
    "smoothing nan": ({"reward.smoothing": math.nan}, "reward.smoothing .* got nan"),
    "smoothing as text": ({"reward.smoothing": "0.9"}, "reward.smoothing .* got '0.9'"),
    "validation as a list": ({"validation": [1]}, r"validation must be a section .* got \[1\]"),
    "fraction nan": ({"validation.fraction": math.nan}, "validation.fraction .* got nan"),
    "fraction as text": ({"validation.fraction": "0.1"}, "validation.fraction .* got '0.1'"),
    "negative examples": ({"validation.max_examples": -1}, "validation.max_examples .* got -1"),
    "length as text": ({"tokenizer.max_seq_len": "64"}, "tokenizer.max_seq_len .* got '64'"),
    "negative length": ({"tokenizer.max_seq_len": -64}, "tokenizer.max_seq_len .* got -64"),
    "passes as a fraction": (
        {"dataset.copy.max_epochs": 1.5},
        "dataset.copy.max_epochs must be a whole number of at least 1, got 1.5",
    ),
    "too few passes for a batch": (
        {"dataset.reverse.max_epochs": 1, "sampler.draw": "batch", "batch_size": 28},
        "dataset.reverse.max_epochs 1 allows 27 sequences, fewer than the global batch of 28",
    ),
    "passes of the whole mixture": (
        {"sampler.max_epochs": 2},
        "sampler.max_epochs is no option of",
    ),
    "a scorer that is none": (
        {"scorer": {"_component_": "torch.nn.Identity"}},
        "scorer._component_ torch.nn.Identity is no scorer, for it lacks update_every, pro.*learn",
    ),
    "a reward that is none": (
        {"reward": {"_component_": "collections.Counter"}},
        "reward._component_ collections.Counter is no subclass of mos_tune.rewards.Reward",
    ),
    "negative size": ({"dataset.copy.size": -5}, "dataset.copy: size .* at least 1, got -5"),
    "size as text": ({"dataset.copy.size": "60"}, "dataset.copy: size .* got '60'"),
    "similarity nan": ({"dataset.copy.similarity": math.nan}, "dataset.copy: similarity .* nan"),
    "seed of a dataset": ({"dataset.copy.seed": "x"}, "dataset.copy.*seed.*'x'"),
    "output_dir as a number": ({"output_dir": 5}, "output_dir must be .* got 5"),
    "no output_dir": ({"output_dir": " "}, "output_dir must be the path of a folder, got ' '"),
    "output where nothing can be": (
        {"output_dir": "/dev/null/run"},
        "output_dir /dev/null/run cannot be written: Not a directory",
    ),
    "a misspelt section": (
        {"validaton": None},
        r"^validaton \(the nearest is validation\) is a key that nothing reads",
    ),
    "a misspelt component": ({"scorr": None}, r"^scorr \(the nearest is scorer\) is a key"),
    "a misspelt switch": ({"log_example": True}, r"^log_example \(the nearest is log_examples\)"),
    "a misspelt number": (
        {"max_step_per_epoch": 2},
        r"^max_step_per_epoch \(the nearest is max_steps_per_epoch\)",
    ),
    "a misspelt key of torchtune's": (
        {"gradient_accumulation_step": 4},
        r"^gradient_accumulation_step \(the nearest is gradient_accumulation_steps\)",
    ),
    "an option outside its section": (
        {"lr": 1e-9},
        r"^lr \(the nearest is optimizer.lr\) is a key",
    ),
    "the same in several sections": (
        {"max_seq_len": 9},
        r"^max_seq_len \(the nearest is tokenizer.max_seq_len or model.max_seq_len\)",
    ),
    "a key like no other": ({"zzz": 1}, r"^zzz is a key that nothing reads, nor another value by"),
    "several of them": ({"zzz": 1, "epoch": 3}, r"^zzz, epoch \(the nearest is epochs\) are keys"),
    "a key that only another such uses": ({"a1": 1, "b1": "${a1}"}, "^b1 is a key that nothing"),
    "overwrite as text": ({"overwrite": "yes"}, "overwrite must be True or False, got 'yes'"),
    "overwrite and resume": (
        {"overwrite": True, "resume_from_checkpoint": True},
        "overwrite and resume_from_checkpoint are both True",
    ),
    "a held-out set without a name": (
        {
            "validation.fraction": None,
            "validation.dataset": {
                name: {"_component_": SKILL} for name in (False, "copy", "sort", "reverse")
            },
        },
        r"validation.dataset names \[False, .*; quote",
    ),
    "a logger that is not installed": (
        {
            "metric_logger": {
                "_component_": "torchtune.training.metric_logging.WandBLogger",
                "dir": "${output_dir}",
            }
        },
        "metric_logger torchtune.*WandBLogger needs the package wandb, which is not installed; pip",
    ),
    "another logger that is not installed": (
        {"metric_logger": {"_component_": "torchtune.training.metric_logging.MLFlowLogger"}},
        "metric_logger torchtune.*MLFlowLogger needs the package mlflow, which is not installed",
    ),
    "a third logger that is not installed": (
        {"metric_logger": {"_component_": "torchtune.training.metric_logging.CometLogger"}},
        "metric_logger torchtune.*CometLogger needs the package comet_ml, which is not installed",
    ),
    "a logger that cannot start": (
        {"metric_logger.log_dir": "/dev/null/logs"},
        "metric_logger torchtune.*DiskLogger cannot start: NotADirectoryError: .*/dev/null/logs",
    ),
    "collate_fn": ({"collate_fn": "torchtune.data.pad"}, "collate_fn .*torchtune.data.pad.* exist"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_one_sentence_before_the_model(settings, change, message, monkeypatch):
    for package in ("wandb", "mlflow", "comet_ml"):  # as if it were not installed
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as caught:
        check(changed(settings, change))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = [
    "",
    " a",
    "a ",
    "a\nb",
    "a\tb",
    "a/b",
    "../a",
    "a.b",
    "a=b",
    "a[0]",
    "a\u2028b",
    "$a",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_would_break_metrics_or_overrides_is_refused(settings, name):
    settings["dataset"][name] = settings["dataset"].pop("copy")
    with pytest.raises(UserError) as caught:
        check(settings)
    assert str(caught.value).startswith(f"dataset.{name!r} must have another name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no", "off", "on", "yes", "1"])
def test_a_name_that_yaml_takes_for_something_else_is_to_be_quoted(settings, name):
    text = f"{{skill: copy, size: 60, _component_: {SKILL}}}"
    settings["dataset"] = OmegaConf.create(f"{name}: {text}")
    with pytest.raises(UserError, match="must have another name: YAML reads .*; quote it, as in"):
        check(settings)
    settings["dataset"] = OmegaConf.create(f'"{name}": {text}')
    with pytest.raises(ModelIsLoaded):
        check(settings)


def test_a_name_that_makes_no_file_is_refused(settings):
    copy = settings["dataset"].pop("copy")
    settings["dataset"]["数" * 67] = copy
    with pytest.raises(UserError, match="must have another name: .* at most 200 bytes"):
        check(settings)


def test_what_another_value_uses_is_no_unknown_key(settings):
    settings |= {"data_dir": "data", "used": {"deep": ["copy"]}}
    settings["dataset"]["copy"]["skill"] = "${used.deep[0]}"
    settings["metric_logger"]["filename"] = "${oc.select:data_dir,logs}.txt"
    with pytest.raises(ModelIsLoaded):
        check(settings)


@pytest.mark.parametrize("name", ["数学", "Ärzte & Pflege", "p3-v1_2:nli", "a, b (c) #1"])
def test_other_names_are_fine(settings, name):
    settings["dataset"][name] = settings["dataset"].pop("copy")
    with pytest.raises(ModelIsLoaded):
        check(settings)


@pytest.mark.parametrize("key", ["optimizer", "loss", "output_dir", "sampler", "dataset", "seed"])
def test_a_missing_key_is_named(settings, key):
    del settings[key]
    with pytest.raises(UserError, match=f"the config lacks {key}"):
        check(settings)


def test_a_small_dataset_is_said_to_wrap(settings, caplog):
    settings["batch_size"] = 40
    with pytest.raises(ModelIsLoaded):
        check(settings)
    said = "dataset.reverse has 27 training sequences, fewer than the global batch of 40"
    assert said in caplog.text
    assert "dataset.count has" not in caplog.text


def said(run):
    return re.findall(r"mos-tune stopped: (.*)", run.output)


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
