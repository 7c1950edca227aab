# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Packed datasets: the same losses, fewer and longer sequences."""

import numpy as np
import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.replay import replay_dataset
from helpers.runs import OTHER_RECIPES, RECIPE, SIZES, settings_for, tune
from torch.nn.functional import cross_entropy

from mos_tune.tokenizers import CharTokenizer

PACKED = ("count", "copy")


def packed_settings(recipe, directory, processes):
    settings, processes = settings_for(recipe, directory, processes)
    settings["tokenizer"]["max_seq_len"] = 256
    settings["dataset"]["copy"]["length"] = 3
    for name in PACKED:
        settings["dataset"][name]["packed"] = True
    return settings, processes


def rows_of(run):
    """The examples that a run drew, in order."""
    return replay_dataset(
        CharTokenizer(max_seq_len=64),
        settings=run.directory.with_suffix(".yaml"),
        examples=run.directory / "examples.jsonl",
    )


def losses_by_transformers(run):
    """Each step's loss per response token with the base weights, one example at a time."""
    rows = iter(rows_of(run))
    model, _ = tiny_llama(run.directory.parent / "again")
    means = []
    for examples in run.examples():
        total, count = 0.0, 0
        for _ in examples:
            row = next(rows)
            tokens, labels = torch.tensor(row["tokens"]), torch.tensor(row["labels"])
            with torch.no_grad():
                logits = model(tokens[None]).logits[0, :-1].double()
            total += cross_entropy(logits, labels[1:], reduction="sum").item()
            count += (labels[1:] != -100).sum().item()
        means.append(total / count)
    return means


@pytest.mark.parametrize("recipe", [RECIPE, *OTHER_RECIPES])
def test_losses_are_those_of_the_examples_by_transformers(tmp_path, recipe):
    settings, processes = packed_settings(recipe, tmp_path, 2)
    settings["optimizer"]["lr"] = 0.0
    run = tune(settings, processes=processes, recipe=recipe)
    np.testing.assert_allclose(run.losses(), losses_by_transformers(run), atol=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings, processes = packed_settings(RECIPE, tmp_path_factory.mktemp("packed"), 2)
    return tune(settings, processes=processes)


def test_what_a_draw_takes_is_said_and_counted(run):
    (start,), (end,) = run.events("start"), run.events("end")
    sizes = {name: size - round(size * 0.1) for name, size in SIZES.items()}
    assert start["sizes"] == sizes
    per_epoch = start["draws_per_epoch"]
    for name in PACKED:
        assert per_epoch[name] < sizes[name] / 2
        said = f"dataset.{name}: {sizes[name]} training examples in {per_epoch[name]} packs of 256"
        assert run.output.count(said) == 1
    assert all(per_epoch[name] == sizes[name] for name in ("sort", "reverse"))
    assert sum(end["draws"].values()) == 96
    drawn = [name for examples in run.examples() for name, _ in examples]
    for name in SIZES:
        assert end["examples"][name] == drawn.count(name)
        assert end["epochs"][name] == end["draws"][name] / per_epoch[name]
        assert (end["examples"][name] > end["draws"][name]) == (name in PACKED)
        # An answer has 8 symbols or 3, and an end token.
        assert end["response_tokens"][name] == (4 if name == "copy" else 9) * drawn.count(name)
        rows = zip(drawn, rows_of(run), strict=True)
        assert end["tokens"][name] == sum(len(row["tokens"]) for of, row in rows if of == name)
    # Each example once in each pass.
    copies = [index for step in run.examples() for name, index in step if name == "copy"]
    assert len(set(copies[: sizes["copy"]])) == sizes["copy"]


def test_held_out_losses_and_rewards_are_of_whole_examples(tmp_path):
    # The model stays what it is, so that other draws change nothing of what is measured.
    still = ("optimizer.lr=0", "max_steps_per_epoch=4")
    reward = "reward=mos_tune.rewards.TransferabilityReward"
    settings, _ = packed_settings(RECIPE, tmp_path, 1)
    packed = tune(settings, *still, reward, processes=1)
    for name in PACKED:
        del settings["dataset"][name]["packed"]
    settings["output_dir"] = str(tmp_path / "whole")
    whole = tune(settings, *still, reward, processes=1)
    for event, value in (("validation", "losses"), ("update", "raw_rewards")):
        (found, *_), (expected, *_) = packed.events(event), whole.events(event)
        assert found[value] == expected[value]
    assert packed.examples() != whole.examples()


def test_one_and_two_processes_train_alike(run, tmp_path):
    settings, processes = packed_settings(RECIPE, tmp_path, 1)
    alone = tune(settings, processes=processes)
    assert alone.examples() == run.examples()
    np.testing.assert_allclose(alone.losses(), run.losses(), atol=1e-5)
    for one, two in zip(alone.events("update"), run.events("update"), strict=True):
        assert one["draws"] == two["draws"]
        assert one["rewards"] == pytest.approx(two["rewards"], rel=1e-4)
