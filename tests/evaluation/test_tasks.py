# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import datasets
import lm_eval.tasks
import pytest
from helpers.benchmarks import LETTER, mmlu_answers, write_benchmarks
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager, get_task_dict
from lm_eval.utils import make_table

from mos_tune.errors import UserError
from mos_tune.evaluation.mmlu import GROUPS, MMLU_GROUPS, SUBJECTS, put_means
from mos_tune.evaluation.tasks import task_manager
from mos_tune.prepare.sources import SUBJECTS as MATH_SUBJECTS

SOME_TASKS = ["mos_mmlu_anatomy", "mos_gsm8k", "mos_math_number_theory"]
REPOSITORIES = {
    "cais/mmlu": "mmlu",
    "gsm8k": "gsm8k",
    "openai/gsm8k": "gsm8k",
    "EleutherAI/hendrycks_math": "math",
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The datasets library keeps what it has read in its cache, outside of the test's directory.
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    yield write_benchmarks(tmp_path_factory.mktemp("benchmarks"))
    patch.undo()


@pytest.fixture(scope="module")
def manager(data_dir: Path) -> TaskManager:
    return task_manager(data_dir, include_defaults=False)


@pytest.fixture(scope="module")
def paper(manager: TaskManager) -> dict[Any, Any]:
    """All groups and tasks on the local directory, nested."""
    return get_task_dict(["mos_paper"], manager)


@pytest.fixture(scope="module")
def local(paper: dict[Any, Any]) -> dict[str, ConfigurableTask]:
    """All tasks on the local directory."""
    return dict(leaves(paper))


@pytest.fixture
def hub(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that serves the local directory's rows."""
    load_dataset = datasets.load_dataset

    def stub(path: str, name: str, **_: Any) -> datasets.DatasetDict:
        folder = data_dir / REPOSITORIES[path]
        files = (folder if name == "main" else folder / name).glob("*.jsonl")
        rows = load_dataset("json", data_files={file.stem: str(file) for file in files})
        # What GSM8K and MATH have on the hub alone: no prompt may take its examples from here.
        if "train" not in rows and path != "cais/mmlu":
            rows["train"] = rows["test"]
        return rows

    monkeypatch.setattr(datasets, "load_dataset", stub)


def leaves(tasks: dict[Any, Any]) -> Iterator[tuple[str, ConfigurableTask]]:
    for name, value in tasks.items():
        if isinstance(value, dict):
            yield from leaves(value)
        else:
            yield name, value


def members(tasks: dict[Any, Any]) -> Iterator[tuple[str, set[str]]]:
    for key, value in tasks.items():
        if isinstance(value, dict):
            yield key.group, set(dict(leaves(value)))
            yield from members(value)


def prompts(task: ConfigurableTask, num_fewshot: int | None = None) -> list[Any]:
    """All of a task's requests: what the model sees, what it may say, and when it stops."""
    if num_fewshot is not None:
        task.set_config(key="num_fewshot", value=num_fewshot)
    task.set_fewshot_seed(1234)
    task.build_all_requests(rank=0, world_size=1)
    return [(request.request_type, *request.args) for request in task.instances]


def test_groups(manager: TaskManager, paper: dict[Any, Any]) -> None:
    math = {f"mos_math_{subject}" for subject in MATH_SUBJECTS}
    mmlu = {
        f"mos_mmlu_{name}": {f"mos_mmlu_{subject}" for subject in subjects}
        for name, subjects in GROUPS.items()
    }
    all_mmlu = {f"mos_mmlu_{subject}" for subject in SUBJECTS}
    tasks = {*all_mmlu, "mos_gsm8k", *math}
    groups = {**mmlu, "mos_mmlu": all_mmlu, "mos_math": math, "mos_paper": tasks}
    assert dict(members(paper)) == groups
    assert set(manager.all_groups) == set(groups)
    assert set(manager.all_subtasks) == tasks
    assert manager.all_tags == []


def test_local_and_hub_ask_the_same(local: dict[str, ConfigurableTask], hub: None) -> None:
    manager = task_manager(include_defaults=False)
    for name, task in get_task_dict(SOME_TASKS, manager).items():
        assert prompts(task) == prompts(local[name])


def test_prompts_are_lm_evals(local: dict[str, ConfigurableTask], hub: None) -> None:
    folder = Path(lm_eval.tasks.__file__).parent
    folders = [str(folder / name) for name in ("mmlu/default", "gsm8k", "minerva_math")]
    theirs = TaskManager(include_path=folders, include_defaults=False)
    tasks = theirs.load_task_or_group(["mmlu_anatomy", "gsm8k_cot", "minerva_math_num_theory"])
    assert prompts(tasks["mmlu_anatomy"]) == prompts(local["mos_mmlu_anatomy"])
    assert prompts(tasks["gsm8k_cot"], num_fewshot=5) == prompts(local["mos_gsm8k"])
    (_, four, options), *_ = prompts(tasks["minerva_math_num_theory"])
    (_, five, same_options), *_ = prompts(local["mos_math_number_theory"])
    question = four.rindex("Problem:")
    assert five.startswith(four[:question]) and five.endswith(four[question:])
    assert options == same_options


def test_number_of_examples(local: dict[str, ConfigurableTask]) -> None:
    for name, task in local.items():
        (_, context, _), *_ = prompts(task)
        if name == "mos_gsm8k":
            assert context.count("Q: ") == 6 and context.count("The answer is") == 5
        elif name.startswith("mos_math"):
            assert context.count("Problem:\n") == 6
            assert context.count("The final answer is $") == 5
        else:
            assert context.count("Answer:") == 1 and "dev" not in context


class AlwaysTheSame(LM):
    """Chooses ``LETTER`` and says that the answer is 2."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(float(r.args[1].strip() == "ABCD"[LETTER]), False) for r in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("abstract in LM; none of these tasks scores whole texts")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        says = "The answer is 2. Final Answer: The final answer is $2$. I hope it is correct."
        return [says] * len(requests)


def test_scores_of_a_known_model(manager: TaskManager, paper: dict[Any, Any]) -> None:
    loaded = manager.load(["mos_paper"]) if hasattr(manager, "load") else paper
    results = evaluate(AlwaysTheSame(), loaded, bootstrap_iters=0, log_samples=False)
    scores = results["results"]
    accuracy = {s: mean(a == LETTER for a in mmlu_answers(s)) for s in SUBJECTS}
    assert {s: scores[f"mos_mmlu_{s}"]["acc,none"] for s in SUBJECTS} == pytest.approx(accuracy)
    by_lm_eval = {group: scores[group]["acc,none"] for group in MMLU_GROUPS}
    put_means(results)
    for group, subjects in MMLU_GROUPS.items():
        expected = mean(accuracy[s] for s in subjects)
        assert by_lm_eval[group] == pytest.approx(expected)
        assert scores[group]["acc,none"] == pytest.approx(expected)
        of_questions = mean(a == LETTER for s in subjects for a in mmlu_answers(s))
        assert scores[group]["acc_weighted,none"] == pytest.approx(of_questions)
    assert abs(scores["mos_mmlu"]["acc,none"] - scores["mos_mmlu"]["acc_weighted,none"]) > 1e-3
    assert "acc_weighted" in make_table(results, "groups")
    assert scores["mos_gsm8k"]["exact_match,strict-match"] == 0.5
    assert scores["mos_math"]["exact_match,none"] == 1.0


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_dir=.* has no mmlu/abstract_algebra/test\.jsonl; f"):
        task_manager(tmp_path)
    path = write_benchmarks(tmp_path) / "math/geometry/test.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match=r"has an empty math/geometry/test\.jsonl; .*benchmarks"):
        task_manager(tmp_path)


def test_published_data() -> None:
    directory = os.environ.get("MOS_TUNE_BENCHMARKS")
    if not directory:
        pytest.skip("MOS_TUNE_BENCHMARKS names no prepared directory")
    manager = task_manager(Path(directory), include_defaults=False)
    counts = {"mmlu": 0, "gsm8k": 0, "math": 0}
    for name, task in leaves(get_task_dict(["mos_paper"], manager)):
        counts[name.split("_")[1]] += len(task.eval_docs)
    assert counts == {"mmlu": 14_042, "gsm8k": 1_319, "math": 5_000}
