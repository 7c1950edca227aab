# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Selecting examples, and training on them."""

import json
from pathlib import Path

import pytest
import torch
from helpers.hf_models import tiny_qwen2
from helpers.response_losses import losses_by_transformers
from helpers.runs import config, tune
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM

from mos_tune.datasets import skill_dataset
from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.selection.recipe import SelectionRecipe
from mos_tune.selection.scores import difficulty
from mos_tune.tokenizers import CharTokenizer

RECIPE = "recipes/select_examples.py"
SIZES = {"count": 150, "reverse": 40}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    settings = config(tmp_path_factory.mktemp("selection"))
    settings["dataset"] = {
        skill: {"_component_": "mos_tune.datasets.skill_dataset", "skill": skill, "size": size}
        for skill, size in SIZES.items()
    }
    settings["dataset"]["count"]["max_epochs"] = 7
    settings["selection"] = {"fraction": 0.2}
    return settings


@pytest.fixture(scope="module")
def on_two_ranks(settings) -> Path:
    tune(settings, recipe=RECIPE)
    return Path(settings["output_dir"]) / "selection"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def select(settings: dict, output_dir: Path, **changes) -> Path:
    """Run the recipe in this process."""
    cfg = OmegaConf.merge(settings, {"selection": {"output_dir": str(output_dir)}}, changes)
    recipe = SelectionRecipe(cfg=cfg)
    try:
        recipe.setup(cfg=cfg)
        recipe.select()
    finally:
        recipe.cleanup()
    return output_dir


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_scores(folder: Path) -> dict[str, dict[int, float]]:
    lines = {name: read(folder / "scores" / f"{name}.jsonl")[1:] for name in SIZES}
    return {name: {line["index"]: line["score"] for line in lines[name]} for name in SIZES}


def test_every_example_has_the_score_of_transformers(settings, on_two_ranks):
    hf_model = AutoModelForCausalLM.from_pretrained(settings["checkpointer"]["checkpoint_dir"])
    tokenizer = CharTokenizer()
    for name, scores in all_scores(on_two_ranks).items():
        dataset = skill_dataset(tokenizer, skill=name, size=SIZES[name])
        expected = {
            index: difficulty(*losses_by_transformers(hf_model, dataset[index], tokenizer.bos_id))
            for index in range(SIZES[name])
        }
        assert scores == pytest.approx(expected, rel=1e-4)


def test_the_highest_scores_are_selected_with_their_rows(on_two_ranks):
    for name, scores in all_scores(on_two_ranks).items():
        lines = read(on_two_ranks / "ifd" / f"{name}.jsonl")
        best = sorted((score for score in scores.values() if score <= 1), reverse=True)
        assert [line["score"] for line in lines] == best[: SIZES[name] // 5]
        data = skill_dataset(CharTokenizer(), skill=name, size=SIZES[name])._data
        assert all(line["row"] == data[line["index"]] for line in lines)


def test_one_rank_writes_the_files_of_two(settings, on_two_ranks, tmp_path):
    alone = select(settings, tmp_path)
    for name in SIZES:
        for kind in ("scores", "ifd"):
            file = f"{kind}/{name}.jsonl"
            assert (alone / file).read_bytes() == (on_two_ranks / file).read_bytes()


def test_two_ranks_killed_between_their_scores_leave_what_one_goes_on_with(
    settings, on_two_ranks, tmp_path
):
    file = tmp_path / "scores" / "count.jsonl"
    deadly = {"_component_": "helpers.components.deadly_skill_dataset", "file": str(file)}
    count = settings["dataset"]["count"] | deadly
    dying = settings | {
        "output_dir": str(tmp_path / "run"),
        "dataset": settings["dataset"] | {"count": count},
        "selection": settings["selection"] | {"output_dir": str(tmp_path)},
    }
    assert tune(dying, recipe=RECIPE, ok=False).code != 0
    whole = (on_two_ranks / "scores" / "count.jsonl").read_bytes()
    left = file.read_bytes()
    assert len(left.splitlines()) > 100 and len(left) < len(whole) and whole.startswith(left)
    select(settings, tmp_path)
    for path in ("scores/count.jsonl", "ifd/count.jsonl", "ifd/reverse.jsonl"):
        assert (tmp_path / path).read_bytes() == (on_two_ranks / path).read_bytes()


def test_a_killed_run_goes_on_with_the_same_scores(settings, tmp_path, monkeypatch):
    whole = select(settings, tmp_path / "whole")
    file = Path("scores") / "count.jsonl"
    lines = (whole / file).read_bytes().splitlines(keepends=True)
    for kept in (0, 1, 70):
        killed = tmp_path / f"killed after {kept}"
        (killed / "scores").mkdir(parents=True)
        (killed / file).write_bytes(b"".join(lines[:kept]) + lines[kept][:9])
        select(settings, killed)
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    monkeypatch.setattr("mos_tune.selection.recipe.load_model", None)  # nothing is left to score
    select(settings, killed, selection={"fraction": 0.1})
    assert len(read(killed / "ifd" / "count.jsonl")) == 15


def test_a_random_selection_needs_no_model(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("mos_tune.selection.recipe.load_model", None)
    folder = select(settings, tmp_path, selection={"method": "random"})
    lines = read(folder / "random" / "count.jsonl")
    assert len(lines) == 30 and {line["score"] for line in lines} == {None}
    assert not (folder / "scores").exists()


def test_another_config_s_model_scores(settings, tmp_path):
    hf_model, builder = tiny_qwen2(tmp_path / "qwen")
    other = settings | {"model": builder}
    other["checkpointer"] = settings["checkpointer"] | {
        "checkpoint_dir": str(tmp_path / "qwen"),
        "model_type": "QWEN2",
    }
    OmegaConf.save(OmegaConf.create(other), tmp_path / "qwen.yaml")
    folder = select(
        settings, tmp_path / "out", selection={"model_config": str(tmp_path / "qwen.yaml")}
    )
    example = skill_dataset(CharTokenizer(), skill="reverse", size=40)[5]
    expected = difficulty(*losses_by_transformers(hf_model, example, CharTokenizer().bos_id))
    assert all_scores(folder)["reverse"][5] == pytest.approx(expected, rel=1e-4)
    trains = OmegaConf.load(folder / "ifd" / "config.yaml")
    assert trains.model == settings["model"] and "selection" not in trains


def test_untrained_adapters_change_nothing(settings, on_two_ranks, tmp_path):
    model = {
        "_component_": "torchtune.models.llama3.lora_llama3",
        "lora_attn_modules": ["q_proj", "v_proj"],
        "lora_rank": 4,
        "lora_alpha": 8,
    }
    scores = all_scores(select(settings, tmp_path, model=model))
    for name, expected in all_scores(on_two_ranks).items():
        assert scores[name] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "bf16"}, "count.jsonl holds scores with another dtype: fp32, not bf16"),
        ({"dataset": {"count": {"size": 149}}}, "count.jsonl holds scores with another tokens and"),
        ({"tokenizer": {"max_seq_len": 30}}, "count.jsonl holds scores with another tokens and"),
    ],
)
def test_scores_of_other_settings_are_not_gone_on_with(settings, on_two_ranks, changes, words):
    with pytest.raises(UserError, match=words):
        select(settings, on_two_ranks, **changes)


def test_a_selection_of_a_selection_is_refused(on_two_ranks, tmp_path):
    cfg = OmegaConf.load(on_two_ranks / "ifd" / "config.yaml")
    with pytest.raises(
        UserError, match="dataset.count.selection is .*count.jsonl, but .* leave it"
    ):
        select(cfg, tmp_path)


def test_what_the_model_cannot_read_is_said_before_it_is_tried(settings, tmp_path):
    with pytest.raises(UserError, match="dataset.count has an example of .* takes 16; set"):
        select(settings, tmp_path, model={"max_seq_len": 16})


def test_a_run_trains_on_the_selected_examples(settings, on_two_ranks):
    folder = on_two_ranks / "ifd"
    file = folder / "config.yaml"
    tune(file, "max_steps_per_epoch=3", processes=1)
    held = {
        name: hold_out(size, 0.1, seed=settings["seed"], name=name)[1]
        for name, size in SIZES.items()
    }
    start = read(folder / "run" / "mixture.jsonl")[0]
    assert start["sizes"] == {
        name: len({line["index"] for line in read(folder / f"{name}.jsonl")}.difference(held[name]))
        for name in SIZES
    }
    assert list(folder.glob("run/epoch_0/*.safetensors"))


def test_indices_are_those_of_the_dataset_with_its_unusable_rows(settings, tmp_path):
    rows = [
        {"input": f"{index} " * (index + 1), "output": "" if index % 3 == 0 else f"so {index}"}
        for index in range(10)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    section = {
        "_component_": "torchtune.datasets.instruct_dataset",
        "source": "json",
        "data_files": str(file),
        "cache_dir": str(tmp_path / "cache"),
        "split": "train",
    }
    folder = select(settings | {"dataset": {"count": section}}, tmp_path / "out")
    scores = read(folder / "scores" / "count.jsonl")[1:]
    assert sorted(line["index"] for line in scores) == [1, 2, 4, 5, 7, 8]
    # The longest first.
    assert [line["index"] for line in scores][0] == 8
    best = max((line for line in scores if line["score"] <= 1), key=lambda line: line["score"])
    (chosen,) = read(folder / "ifd" / "count.jsonl")
    assert chosen == {key: best[key] for key in ("index", "score")} | {"row": rows[best["index"]]}
    random = select(
        settings | {"dataset": {"count": section}}, tmp_path / "out", selection={"method": "random"}
    )
    (chosen,) = read(random / "random" / "count.jsonl")
    assert chosen["row"]["output"]
