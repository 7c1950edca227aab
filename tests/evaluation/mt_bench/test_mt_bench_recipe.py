# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The recipe that answers: what it writes, and how it resumes."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation import evaluated_run
from helpers.mt_bench_files import CATEGORIES, write_benchmark
from helpers.runs import REPOSITORY, tune
from omegaconf import DictConfig, OmegaConf

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.answers import Answers
from mos_tune.journal import Journal

RECIPE = "recipes/mt_bench_mos.py"


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    write_benchmark(tmp_path / "data" / "mt_bench")
    cfg = evaluated_run(tmp_path)
    cfg.merge_with({"data_dir": str(tmp_path / "data"), "gen_kwargs": {"max_gen_toks": 6}})
    cfg.batch_size = 2
    return cfg


def recipe_of(cfg: DictConfig) -> Any:
    spec = importlib.util.spec_from_file_location("mt_bench_mos_under_test", REPOSITORY / RECIPE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MTBenchMoSRecipe(cfg=cfg)


def answer(cfg: DictConfig) -> None:
    recipe = recipe_of(cfg)
    recipe.setup(cfg=cfg)
    recipe.evaluate()
    recipe.cleanup()


def file_of(cfg: DictConfig) -> Path:
    return Path(cfg.checkpoint_dir) / "mt_bench_answers.jsonl"


def lines_of(cfg: DictConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file_of(cfg).read_text().splitlines()]


def by_question(cfg: DictConfig) -> dict[int, tuple[str, str]]:
    with Journal(file_of(cfg)) as journal:
        return Answers(journal).by_question


def test_answers_every_question_once_and_tells_of_what(cfg: DictConfig) -> None:
    answer(cfg)
    lines = lines_of(cfg)
    assert sorted(line["question_id"] for line in lines) == sorted(CATEGORIES)
    assert all(text for line in lines for text in line["choices"][0]["turns"])
    (origin,) = {json.dumps(line["origin"]) for line in lines}
    told = json.loads(origin)
    assert (told["name"], told["checkpoint"]["step"]) == ("run", 8)
    assert told["mixture"]["final_probabilities"] == {"a": 1.0, "b": 0.0}
    assert told["generation"]["max_new_tokens"] == 6
    before = file_of(cfg).read_bytes()
    answer(cfg)
    assert file_of(cfg).read_bytes() == before


def test_goes_on_after_an_interruption_with_the_same_answers(
    cfg: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(cfg)
    whole = by_question(cfg)
    file_of(cfg).unlink()
    recipe = recipe_of(cfg)
    recipe.setup(cfg=cfg)
    work = recipe.eleuther_model_wrapper.ranks._functions
    once = work["answer"]

    def killed_at_the_second_batch(batch: Any) -> Any:
        work["answer"] = interrupted
        return once(batch)

    def interrupted(batch: Any) -> Any:
        raise KeyboardInterrupt

    work["answer"] = killed_at_the_second_batch
    with pytest.raises(KeyboardInterrupt):
        recipe.evaluate()
    recipe.cleanup()
    kept = file_of(cfg).read_bytes()
    assert 0 < len(by_question(cfg)) < len(whole)
    with file_of(cfg).open("ab") as file:
        file.write(b'{"question_id": 8')
    answer(cfg)
    assert file_of(cfg).read_bytes().startswith(kept)
    assert by_question(cfg) == whole


def test_two_ranks_give_the_answers_of_one(cfg: DictConfig, tmp_path: Path) -> None:
    answer(cfg)
    alone = by_question(cfg)
    file_of(cfg).unlink()
    path = tmp_path / "config.yaml"
    OmegaConf.save(cfg, path)
    tune(path, recipe=RECIPE)
    assert by_question(cfg) == alone


def test_limit_asks_the_first_questions(cfg: DictConfig) -> None:
    cfg.limit = 1
    answer(cfg)
    assert list(by_question(cfg)) == [81]
    cfg.limit = None
    answer(cfg)
    assert sorted(by_question(cfg)) == sorted(CATEGORIES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "holds answers with other generation settings: .*'seed': 1234.*, not .*7"),
        ({"gen_kwargs": {"max_gen_toks": 5}}, "other generation settings"),
        ({"data_dir": "/nowhere"}, "/nowhere/mt_bench/question.jsonl is missing"),
        ({"gen_kwargs": {"max_gen_toks": 0}}, "gen_kwargs.max_gen_toks must be .* got 0"),
        ({"gen_kwargs": {"max_gen_toks": True}}, "gen_kwargs.max_gen_toks must be .* got True"),
        ({"gen_kwargs": {"temperature": 1}}, "gen_kwargs has temperature; of MT-bench's answers"),
    ],
)
def test_bad_input_is_known_before_the_model_is_loaded(
    cfg: DictConfig, changes: dict[str, Any], words: str
) -> None:
    write_one_answer(cfg)
    cfg.merge_with(changes)
    cfg.model.num_layers = 99  # Would not load.
    with pytest.raises(UserError, match=words):
        recipe_of(cfg).setup(cfg=cfg)


def test_answers_of_other_weights_are_not_gone_on_with(cfg: DictConfig) -> None:
    write_one_answer(cfg)
    (Path(cfg.checkpoint_dir) / "other.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="holds answers with other weights"):
        recipe_of(cfg).setup(cfg=cfg)


def write_one_answer(cfg: DictConfig) -> None:
    recipe = recipe_of(cfg)
    recipe._load_questions(cfg)
    recipe._answers.add(recipe._questions[0], ("one", "two"), recipe._origin)
    recipe.cleanup()
