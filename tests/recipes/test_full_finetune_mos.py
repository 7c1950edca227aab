# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The recipe, started as a user starts it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.remeasured import measured_again
from helpers.runs import OTHER_RECIPES, RECIPE, SIZES, config, settings_for, tune
from matplotlib.image import imread
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mos_tune.perplexities import main as perplexities

TRANSFERABILITY = "reward=mos_tune.rewards.TransferabilityReward"


@pytest.fixture(scope="module", params=[RECIPE, *OTHER_RECIPES], ids=lambda path: Path(path).stem)
def run(request, tmp_path_factory):
    settings, processes = settings_for(request.param, tmp_path_factory.mktemp("default"))
    return tune(settings, processes=processes, recipe=request.param)


def test_mixture_jsonl_tells_the_whole_run(run):
    (start,), updates, (end,) = (run.events(name) for name in ("start", "update", "end"))
    assert start["step"] == 0 and start["names"] == list(SIZES)
    assert start["sizes"] == {name: size - round(size * 0.1) for name, size in SIZES.items()}
    assert start["draws_per_epoch"] == start["sizes"]
    assert start["probabilities"] == dict.fromkeys(SIZES, 0.25)
    assert [update["step"] for update in updates] == [4, 8, 12]
    for update in updates:
        assert set(update) == {
            *("event", "step", "probabilities", "rewards", "raw_rewards"),
            *("draws", "examples", "tokens", "response_tokens", "epochs", "seconds"),
        }
        assert sum(update["probabilities"].values()) == pytest.approx(1)
        assert sum(update["examples"].values()) == 8 * update["step"]
        assert update["draws"] == update["examples"]
    assert end["step"] == 12 and sum(end["examples"].values()) == 96
    for name, size in start["sizes"].items():
        assert end["epochs"][name] == end["examples"][name] / size
        # p of steps 1-4, 5-8 and 9-12.
        used = [start["probabilities"][name], *(u["probabilities"][name] for u in updates[:2])]
        assert end["average_probabilities"][name] == pytest.approx(np.mean(used))


def test_the_first_rewards_are_smoothed_from_the_second_on(run):
    first, second, _ = run.events("update")
    assert first["rewards"] == first["raw_rewards"]
    for name in SIZES:
        smoothed = 0.9 * second["raw_rewards"][name] + 0.1 * first["rewards"][name]
        assert second["rewards"][name] == pytest.approx(smoothed)


def test_examples_jsonl_agrees_with_the_counts_and_names_rows_of_the_dataset(run):
    examples = [tuple(example) for step in run.examples() for example in step]
    assert len(examples) == 96
    for name, size in SIZES.items():
        mine = [index for dataset, index in examples if dataset == name]
        assert len(mine) == run.events("end")[0]["examples"][name]
        assert all(0 <= index < size for index in mine)
        assert len(set(mine[: round(0.9 * size)])) == len(mine[: round(0.9 * size)])


def test_scalars_go_through_the_metric_logger(run):
    for name in SIZES:
        assert list(run.metric(f"mixture/probability/{name}")) == list(range(1, 13))
        assert list(run.metric(f"mixture/epochs/{name}")) == list(range(1, 13))
        assert list(run.metric(f"mixture/reward/{name}")) == [4, 8, 12]
        assert list(run.metric(f"val_loss/{name}")) == [0, 5, 10, 12]
    validation = run.events("validation")
    for event in validation:
        assert run.metric("val_loss/mean")[event["step"]] == event["mean"]
        assert event["mean"] == pytest.approx(np.mean(list(event["losses"].values())))
    assert validation[-1]["mean"] < validation[0]["mean"]


def test_training_losses_per_dataset_add_up_to_the_loss(run):
    tokens, counted = dict.fromkeys(SIZES, 0), {}
    for step, (examples, loss) in enumerate(zip(run.examples(), run.losses(), strict=True), 1):
        # Every answer has 8 symbols and an end token.
        counted = {name: 9 * sum(dataset == name for dataset, _ in examples) for name in SIZES}
        total = sum(counted.values())
        per_dataset = {n: run.metric(f"loss/{n}").get(step) for n in SIZES}
        assert all((per_dataset[n] is None) == (counted[n] == 0) for n in SIZES)
        mean = sum(per_dataset[n] * counted[n] for n in SIZES if counted[n]) / total
        assert mean == pytest.approx(loss, abs=1e-5)
        tokens = {name: tokens[name] + counted[name] for name in SIZES}
    assert run.events("end")[0]["response_tokens"] == tokens


def test_the_progress_bar_shows_the_mixture(run):
    # In brackets the share of the response tokens.
    assert re.search(r"\|(\w+ 25% \(\d+%\) ?){4}", run.output)
    assert "Perplexities of the untouched model:" in run.output


def test_the_picture_is_drawn(run):
    picture = imread(run.directory / "mixture.png")
    assert picture.shape[0] > 300 and picture.std() > 0.05


def test_the_checkpoint_loads_in_transformers_with_the_last_held_out_loss(run):
    model = AutoModelForCausalLM.from_pretrained(run.directory / "epoch_0")
    assert run.events("validation")[-1]["losses"]["count"] == pytest.approx(
        _held_out_loss(model, run, "count"), rel=1e-4
    )


def test_the_perplexity_study_is_that_of_the_base_and_the_exported_model(run, capsys):
    perplexities([str(run.directory)])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert "PPL after 12 steps" in header
    table = {name: [float(x) for x in values] for _, name, *values, _ in map(_cells, rows)}
    assert list(table) == list(SIZES)
    base = AutoModelForCausalLM.from_pretrained(run.directory.parent / "base")
    model = AutoModelForCausalLM.from_pretrained(run.directory / "epoch_0")
    before, after = (np.exp(_held_out_loss(one, run, "reverse")) for one in (base, model))
    assert table["reverse"] == pytest.approx([before, after, after / before], abs=2e-3)
    assert after < 0.9 * before


def test_the_last_rewards_are_those_of_the_exported_model_against_one_without_adapters(run):
    found = torch.tensor(list(run.events("update")[-1]["raw_rewards"].values())).double()
    torch.testing.assert_close(found, measured_again(run), rtol=1e-4, atol=0)
    assert found.std() > 0.1 * found.mean()


@pytest.mark.parametrize("run", ["recipes/lora_finetune_mos_distributed.py"], indirect=True)
def test_the_adapter_on_the_base_model_is_the_merged_model(run):
    merged = load_file(run.directory / "epoch_0" / "model-00001-of-00001.safetensors")
    base = load_file(run.directory.parent / "base" / "model.safetensors")
    adapter = load_file(run.directory / "epoch_0" / "adapter" / "adapter_model.safetensors")
    sides = [name for name in adapter if name.endswith("lora_A.weight")]
    assert len(sides) == 2 * (3 + 3)  # layers; attention and feed-forward
    for side in sides:
        name = side.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        change = 2 * adapter[side.replace("lora_A", "lora_B")] @ adapter[side]  # alpha / rank
        assert change.abs().max() > 1e-3
        torch.testing.assert_close(merged[name], base[name] + change)


@pytest.mark.parametrize(
    "run",
    ["recipes/lora_finetune_mos_distributed.py", "recipes/lora_finetune_mos_single_device.py"],
    indirect=True,
)
def test_peft_loads_the_adapter_as_the_merged_model(run):
    tokens = torch.arange(40).reshape(2, 20)
    merged = AutoModelForCausalLM.from_pretrained(run.directory / "epoch_0")
    base = AutoModelForCausalLM.from_pretrained(run.directory.parent / "base")
    before = base(tokens).logits.detach()
    adapter = run.directory / "epoch_0" / "adapter"
    expected = merged(tokens).logits
    assert (expected - before).abs().max() > 0.1
    for model in (
        PeftModel.from_pretrained(base, adapter),
        AutoPeftModelForCausalLM.from_pretrained(adapter),  # finds the base model by itself
    ):
        torch.testing.assert_close(model(tokens).logits, expected, atol=1e-4, rtol=1e-4)


def test_others_may_read_all_that_is_written(run):
    reference = run.directory.parent / "made_by_open"
    reference.open("w").close()
    modes = {
        path.relative_to(run.directory): path.stat().st_mode & 0o777
        for path in run.directory.rglob("*")
        if path.is_file()
    }
    assert len(modes) > 5
    assert set(modes.values()) == {reference.stat().st_mode & 0o777}, modes


def _cells(row):
    return [cell.strip() for cell in row.split("|")]


def _held_out_loss(model, run, name):
    from mos_tune.datasets import skill_dataset
    from mos_tune.mixture import hold_out
    from mos_tune.tokenizers import CharTokenizer

    dataset = skill_dataset(CharTokenizer(max_seq_len=64), skill=name, size=SIZES[name])
    held = hold_out(SIZES[name], 0.1, seed=1, name=name)[1][:8]
    losses = []
    for index in held.tolist():
        tokens, labels = (torch.tensor(dataset[index][key]) for key in ("tokens", "labels"))
        with torch.no_grad():
            logits = model(tokens[None]).logits[0, :-1].double()
        losses.append(
            torch.nn.functional.cross_entropy(logits, labels[1:], reduction="none")[
                labels[1:] != -100
            ]
        )
    return torch.cat(losses).mean().item()


@pytest.mark.parametrize("run", [RECIPE], indirect=True)
def test_one_process_draws_the_same_examples_and_measures_the_same_rewards(run, tmp_path):
    one = tune(config(tmp_path) | {"batch_size": 8}, processes=1)
    assert [sorted(step) for step in one.examples()[:4]] == [
        sorted(step) for step in run.examples()[:4]
    ]
    np.testing.assert_allclose(one.losses()[:4], run.losses()[:4], rtol=1e-4)
    first, other = one.events("update")[0], run.events("update")[0]
    for name in SIZES:
        assert first["rewards"][name] == pytest.approx(other["rewards"][name], rel=1e-4)


def test_overrides_of_reward_scorer_optimizer_and_logger(run, tmp_path):
    other = tune(
        config(tmp_path),
        TRANSFERABILITY,
        "reward.specialist=sort",
        "reward.smoothing=1.0",
        "scorer.update_every=3",
        "optimizer.lr=5e-4",
        "max_steps_per_epoch=6",
        "metric_logger=torchtune.training.metric_logging.TensorBoardLogger",
        "~metric_logger.filename",
        "log_examples=False",
    )
    updates = other.events("update")
    assert [update["step"] for update in updates] == [3, 6]
    for update in updates:
        assert update["rewards"] == update["raw_rewards"]
        assert update["rewards"]["sort"] == pytest.approx(1)
        assert max(update["probabilities"], key=update["probabilities"].get) == "sort"
    assert not (other.directory / "examples.jsonl").exists()
    assert list((other.directory / "logs").glob("**/events.out.tfevents.*"))


@pytest.mark.parametrize("off", ["on the command line", "in the config"])
def test_without_a_scorer_the_mixture_stays_at_the_prior(tmp_path, off):
    settings, overrides = config(tmp_path), ["sampler.temperature=10", "sampler.draw=batch"]
    if off == "in the config":
        del settings["scorer"]
    else:
        overrides.append("scorer=null")
    run = tune(settings, *overrides, processes=1)
    sizes = np.array([size - round(size * 0.1) for size in SIZES.values()])
    prior = sizes**0.1 / (sizes**0.1).sum()
    (start,), (end,) = run.events("start"), run.events("end")
    np.testing.assert_allclose(list(start["probabilities"].values()), prior, atol=1e-12)
    assert end["average_probabilities"] == pytest.approx(start["probabilities"])
    assert run.events("update") == []
    assert all(len({name for name, _ in step}) == 1 for step in run.examples())
    assert any(f"|from {name}" in run.output for name in SIZES)
    assert (run.directory / "mixture.png").exists()


@pytest.mark.parametrize(
    ("processes", "overrides"),
    [
        (
            2,
            [
                "gradient_accumulation_steps=2",
                "enable_activation_checkpointing=True",
                "loss=torch.nn.CrossEntropyLoss",
                "dtype=bf16",
                "clip_grad_norm=1.0",
            ],
        ),
        (2, ["optimizer_in_bwd=True", "dtype=bf16", TRANSFERABILITY]),
        (1, ["compile=True", "max_steps_per_epoch=4"]),  # compiling takes a minute a process
    ],
    ids=["accumulation-checkpointing-plain-bf16", "in-backward-bf16", "compile"],
)
def test_torchtunes_options_run(tmp_path, processes, overrides):
    run = tune(config(tmp_path), *overrides, processes=processes)
    losses = run.losses()
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert run.events("update") and run.events("end")
    validation = [event["mean"] for event in run.events("validation")]
    assert validation[-1] < validation[0]


@pytest.mark.parametrize(
    ("recipe", "reward"),
    [
        ("recipes/lora_finetune_mos_single_device.py", "DifficultyReward"),
        ("recipes/lora_finetune_mos_distributed.py", "GradientReward"),
    ],
)
def test_qlora_trains_saves_its_adapters_and_goes_on(tmp_path, recipe, reward):
    settings, processes = settings_for(recipe, tmp_path)
    settings["reward"]["_component_"] = f"mos_tune.rewards.{reward}"
    tiny_llama(tmp_path / "base", width=256)  # the narrowest that 4-bit blocks fit into
    settings["model"] |= {"embed_dim": 256, "quantize_base": True}
    settings |= {"dtype": "bf16", "checkpoint": {"every_n_steps": 100, "keep_last": 1}}
    settings |= {"resume_from_checkpoint": True, "max_steps_per_epoch": 5}
    first = tune(settings, processes=processes, recipe=recipe).losses()
    run = tune(settings | {"max_steps_per_epoch": 8}, processes=processes, recipe=recipe)
    assert [update["step"] for update in run.events("update")] == [4, 8]
    losses = run.losses()
    assert losses[:5] == first and len(losses) == 8
    assert max(losses[5:]) < min(losses[:3])


def test_an_interrupted_run_goes_on_at_the_epoch_with_its_mixture(tmp_path):
    settings = config(tmp_path) | {"epochs": 2, "max_steps_per_epoch": 6}
    settings["dataset"]["reverse"] |= {"size": 8, "max_epochs": 1}
    whole = tune(settings)
    (used_up,) = whole.events("used_up")
    assert used_up["step"] <= 6
    assert [update["step"] for update in whole.events("update")] == [4, 8, 12]
    shutil.rmtree(whole.directory / "epoch_1")
    before = {step: loss for step, loss in whole.metric("loss").items() if step > 6}
    examples, events = whole.examples(), whole.events("update")
    (whole.directory / "logs" / "log.txt").unlink()
    # As torchtune wants it: the files of the last epoch, relative to output_dir.
    settings["checkpointer"]["checkpoint_files"] = ["epoch_0/model-00001-of-00001.safetensors"]
    resumed = tune(settings | {"resume_from_checkpoint": True})
    assert resumed.metric("loss") == before
    assert resumed.examples() == examples
    assert [(e["step"], e["probabilities"]) for e in resumed.events("update")] == [
        (e["step"], e["probabilities"]) for e in events
    ]
    assert resumed.events("used_up") == [used_up]
    assert len(resumed.events("end")) == 1
    shutil.rmtree(whole.directory / "epoch_1")
    refused = tune(settings | {"resume_from_checkpoint": True, "seed": 77}, ok=False)
    assert "mos-tune stopped: seed is 77, the checkpoint has 1" in refused.output
    settings["dataset"]["sort"] |= {"seed": 5}
    refused = tune(settings | {"resume_from_checkpoint": True}, ok=False)
    assert "dataset.sort has other examples than the checkpoint was written with" in refused.output


def test_a_run_too_short_for_an_update_still_ends_with_its_model(tmp_path):
    run = tune(config(tmp_path), "scorer.update_every=100", "lr_scheduler=null", processes=1)
    assert run.events("update") == [] and run.events("end")[0]["step"] == 12
    assert (run.directory / "epoch_0" / "config.json").exists()
    assert "scorer.update_every is 100, but the run has only 12 steps" in run.output


def test_validation_on_datasets_of_its_own(tmp_path):
    settings = config(tmp_path)
    settings["validation"] = {
        "every_n_steps": 12,
        "max_examples": 4,
        "dataset": json.loads(json.dumps(settings["dataset"])),
    }
    for section in settings["validation"]["dataset"].values():
        section |= {"seed": 9}
    run = tune(settings, processes=1)
    assert run.events("start")[0]["sizes"] == SIZES
    assert [event["step"] for event in run.events("validation")] == [0, 12]
