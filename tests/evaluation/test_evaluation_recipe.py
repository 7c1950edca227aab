# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import importlib.util
import json
from pathlib import Path

import datasets
import pytest
from helpers.evaluation import evaluated_run
from helpers.hf_models import tiny_qwen2
from helpers.runs import REPOSITORY
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.evaluation import config as evaluation_config
from mos_tune.evaluation import read_results


def recipe_of(cfg):
    file = REPOSITORY / "recipes" / "eleuther_eval_mos.py"
    spec = importlib.util.spec_from_file_location("eleuther_eval_mos_under_test", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EleutherEvalMoSRecipe(cfg=cfg)


def evaluate(cfg):
    recipe = recipe_of(cfg)
    recipe.setup(cfg=cfg)
    recipe.evaluate()
    recipe.cleanup()
    return read_results(folder_of(cfg))


def folder_of(cfg):
    return Path(cfg.checkpoint_dir)


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return evaluated_run(tmp_path)


def test_results_tell_what_was_measured_of_what(cfg, capsys):
    results = evaluate(cfg)
    printed = capsys.readouterr().out
    assert "|mos_test" in printed and "exact_match" in printed
    assert results["name"] == "run"
    assert results["checkpoint"]["step"] == 8
    assert results["mixture"]["final_probabilities"] == {"a": 1.0, "b": 0.0}
    choice, answer = results["tasks"]["mos_test_choice"], results["tasks"]["mos_test_answer"]
    assert (choice["n_shot"], choice["n_samples"], choice["version"]) == (0, 11, 1.0)
    assert (answer["n_shot"], answer["n_samples"], answer["alias"]) == (1, 11, "mos_test_answer")
    scores = results["scores"]
    assert scores["mos_test"]["acc,none"] == scores["mos_test_choice"]["acc,none"]
    assert scores["mos_test_choice"]["acc_stderr,none"] > 0
    (evaluation,) = results["evaluations"]
    assert evaluation["config"]["batch_size"] == 4
    assert set(evaluation["software"]) == {"mos-tune", "lm-eval", "torch", "torchtune"}
    samples = folder_of(cfg) / "samples_mos_test_choice.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert sum(row["acc"] for row in rows) / 11 == scores["mos_test_choice"]["acc,none"]


def test_a_command_line_changes_what_is_asked(cfg):
    cfg.tasks = ["mos_test_answer"]
    cfg.merge_with({"limit": 3, "num_fewshot": 2, "gen_kwargs": {"max_gen_toks": 2}, "name": "x"})
    cfg.merge_with({"apply_chat_template": True, "fewshot_as_multiturn": True})
    cfg.system_instruction = "Be brief."
    results = evaluate(cfg)
    assert results["name"] == "x"
    assert results["tasks"]["mos_test_answer"]["n_shot"] == 2
    assert results["tasks"]["mos_test_answer"]["n_samples"] == 3
    samples = (folder_of(cfg) / "samples_mos_test_answer.jsonl").read_text().splitlines()
    (prompt, settings) = json.loads(samples[0])["arguments"][0]
    assert prompt.startswith("<a>Be brief.</s><u>Q: ") and prompt.endswith("</s><a>")
    assert prompt.count("<u>") == 3
    assert settings["max_gen_toks"] == 2 and settings["until"] == ["\n", "Q"]
    assert all(len(json.loads(line)["resps"][0][0]) <= 2 * 2 for line in samples)


def test_an_interrupted_evaluation_leaves_the_results_before_it(cfg, monkeypatch):
    cfg.tasks = ["mos_test_choice"]
    before = evaluate(cfg)
    recipe = recipe_of(cfg)
    recipe.setup(cfg=cfg)

    def interrupted(requests):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe.eleuther_model_wrapper, "loglikelihood", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe.evaluate()
    assert read_results(folder_of(cfg)) == before
    assert not list(folder_of(cfg).glob(".*"))


def changed(**changes):
    return lambda cfg: cfg.merge_with(changes)


def without(name):
    return lambda cfg: (folder_of(cfg) / name).unlink()


def empty_questions(cfg):
    path = folder_of(cfg).parent.parent / "tasks" / "questions.jsonl"
    path.write_text("")


def qwen2_weights(cfg):
    tiny_qwen2(folder_of(cfg))


def smaller_model(cfg):
    cfg.model.num_layers = 1


def larger_vocabulary(cfg):
    cfg.tokenizer = {"_component_": "mos_tune.tokenizers.CharTokenizer"}
    cfg.model.vocab_size = 50


BAD_INPUT = {
    "a misspelt key": (changed(limt=3), r"^limt \(the nearest is limit\) is a key that nothing"),
    "a misplaced key": (
        changed(checkpoint_files=["a"], max_gen_toks=9),
        r"^checkpoint_files \(.*\), max_gen_toks are keys that nothing reads",
    ),
    "no checkpoint": (
        changed(checkpoint_dir="/nowhere"),
        "checkpoint_dir is /nowhere, where no folder is",
    ),
    "no weights": (without("model.safetensors"), "has no .safetensors or .bin file"),
    "no config.json": (without("config.json"), "which lacks config.json"),
    "another architecture": (qwen2_weights, "does not fit model torchtune.models.llama3.llama3"),
    "another size": (smaller_model, "does not fit model .*Unexpected key"),
    "vocabulary": (larger_vocabulary, "tokenizer has 103 tokens, but the model's embedding has 50"),
    "unknown task": (changed(tasks=["mos_tset"]), "'mos_tset'.*did you mean mos_test"),
    "no tasks": (changed(tasks=[]), "tasks is .*; expected a list"),
    "no questions": (empty_questions, "empty"),
    "no local data": (changed(data_dir="/nowhere"), "data_dir=/nowhere has no "),
    "no include path": (changed(include_path="/nowhere"), "include_path is /nowhere"),
    "length": (
        changed(max_seq_length=9999),
        "max_seq_length is 9999; the model takes from 2 to 256",
    ),
    "limit": (changed(limit=0), "limit must be a whole number of at least 1, got 0"),
    "system": (changed(system_instruction="x"), "system_instruction is x, which needs apply_chat"),
}


@pytest.mark.parametrize(("change", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_named_and_nothing_is_written(change, message, cfg):
    folder = folder_of(cfg)
    change(cfg)
    with pytest.raises(UserError, match=message):
        recipe = recipe_of(cfg)
        recipe.setup(cfg=cfg)
    assert not (folder / "results.json").exists()


def test_a_chat_template_is_needed_for_chat(cfg):
    cfg.tokenizer = {"_component_": "mos_tune.tokenizers.CharTokenizer"}
    cfg.apply_chat_template = True
    recipe = recipe_of(cfg)
    with pytest.raises(UserError, match="CharTokenizer has no chat template"):
        recipe.setup(cfg=cfg)


def test_versions_are_compared_as_versions(cfg, monkeypatch):
    monkeypatch.setattr(evaluation_config, "version", lambda name: "0.4.13")
    recipe_of(cfg)
    monkeypatch.setattr(evaluation_config, "version", lambda name: "0.4.4")
    with pytest.raises(UserError, match="lm-eval 0.4.4 is installed, 0.4.5 or newer is needed"):
        recipe_of(cfg)


@pytest.mark.parametrize("file", sorted((REPOSITORY / "configs" / "eval").glob("*.yaml")), ids=str)
def test_all_configs_have_what_both_recipes_read(file):
    cfg = OmegaConf.load(file)
    evaluation_config.check_config(cfg)
    assert cfg.checkpointer.checkpoint_dir == cfg.checkpoint_dir
