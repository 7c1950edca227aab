# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The paper's benchmarks as lm-eval tasks: MMLU in three groups, GSM8K and MATH.

Each is a change to one of lm-eval's own tasks.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks import TaskManager

from mos_tune.errors import UserError
from mos_tune.evaluation.mmlu import GROUPS, SUBJECTS

_MATH = {
    "algebra": "algebra",
    "counting_and_probability": "counting_and_prob",
    "geometry": "geometry",
    "intermediate_algebra": "intermediate_algebra",
    "number_theory": "num_theory",
    "prealgebra": "prealgebra",
    "precalculus": "precalc",
}
"""Name of each subject on the hub, and in lm-eval."""

_MATH_EXAMPLES = 5

_FIFTH_MATH_EXAMPLE = {
    "problem": "A bowl holds $5$ red beads and $7$ green beads. Two beads are taken at random, "
    "without putting the first one back. What is the probability that both are red?",
    "solution": "The first bead is red with probability $\\frac{5}{12}$. Then $4$ of the $11$ "
    "beads left are red, so the probability that both are red is "
    "$\\frac{5}{12}\\cdot\\frac{4}{11}=\\frac{20}{132}=\\boxed{\\frac{5}{33}}.$\n"
    "Final Answer: The final answer is $\\frac{5}{33}$. I hope it is correct.",
    "few_shot": "1",
}


def task_manager(
    data_dir: Path | None = None,
    *,
    include_path: Path | None = None,
    include_defaults: bool = True,
) -> TaskManager:
    """Give a manager that knows lm-eval's tasks and the paper's.

    These groups are added; their tasks keep lm-eval's prompts and answer checks:

    - ``mos_mmlu``: the 57 subjects without examples, in ``mos_mmlu_mathematics``,
      ``mos_mmlu_medicine`` and ``mos_mmlu_others``. A group's accuracy is the mean over its
      subjects, each counting the same; :func:`mos_tune.evaluation.mmlu.mmlu_means` has
      the mean over questions too.
    - ``mos_gsm8k`` (one task): lm-eval's ``gsm8k_cot`` with the first five of its examples.
    - ``mos_math``: lm-eval's ``minerva_math`` with five examples, over the 7 subjects. Needs
      ``lm-eval[math]``, 0.4.7 or newer: in 0.4.5 ``minerva_math`` itself cannot be loaded.
    - ``mos_paper``: all of it.

    Args:
        data_dir (Path | None): directory that ``mos-tune prepare benchmarks`` has filled, to be
            read in place of the hub; the prompts are the same. lm-eval's own tasks know nothing of
            it.
        include_path (Path | None): directory with configs of the user's own tasks.
        include_defaults (bool): whether lm-eval's own tasks are known too. It takes lm-eval seconds
            to find them (5 to 15 on two cores); the paper's alone take a tenth of a second.

    Returns:
        TaskManager: the same on every rank.

    Raises:
        UserError: if a file is missing in ``data_dir`` or empty, or lm-eval lacks a task.
    """
    base_dir = Path(lm_eval.tasks.__file__).parent
    tasks = _benchmark_tasks()
    for name, task in tasks.items():
        if not (base_dir / task.base).is_file():
            raise UserError(f"{name} needs lm-eval's {task.base}, which is not in {base_dir}")
        if data_dir is not None:
            _check_files(task, data_dir)
    configs = [{"task": name, **task.config(base_dir, data_dir)} for name, task in tasks.items()]
    # Files in a directory are the one way to add tasks that every lm-eval release has.
    directory = tempfile.TemporaryDirectory(prefix="mos_tune_tasks_")
    for config in (*configs, *_groups()):
        name = config.get("group") or config["task"]
        (Path(directory.name) / f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")
    # lm-eval 0.4.9.2 prints where a task's config is, seen from its own folder, and fails if that
    # is elsewhere. It only compares the beginnings of paths: the detour is one that it can print.
    found = [Path(directory.name), *filter(None, [include_path])]
    detours = [os.path.relpath(path.resolve(), base_dir.resolve()) for path in found]
    manager = TaskManager(
        include_path=[str(base_dir / detour) for detour in detours],
        include_defaults=include_defaults,
    )
    # lm-eval reads a config when its task is asked for: the files live as long as the manager.
    manager.mos_tune_configs = directory
    return manager


@dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """One task: lm-eval's prompt and answer check on one dataset."""

    base: str
    """Config that it changes, in lm-eval's folder of tasks."""

    repository: str
    """Dataset on the hub."""

    folder: str
    """Folder of the same dataset in the prepared directory."""

    splits: tuple[str, ...]
    """Splits that it reads."""

    changes: dict[str, Any]
    """Keys of the config that differ from the base's."""

    def config(self, base_dir: Path, data_dir: Path | None) -> dict[str, Any]:
        """Give the config, to be read by lm-eval.

        Args:
            base_dir (Path): lm-eval's folder of tasks.
            data_dir (Path | None): the prepared directory; None: the hub.
        """
        # Named here, because lm-eval's older releases name repositories that have moved or that
        # need a loading script; the rows are the same.
        source: dict[str, Any] = {"dataset_path": self.repository, "dataset_kwargs": {}}
        if data_dir is not None:
            files = {split: str(path) for split, path in self.files(data_dir).items()}
            source = {
                "dataset_path": "json",
                "dataset_name": None,
                "dataset_kwargs": {"data_files": files},
            }
        # An inherited tag would bring the task into lm-eval's own groups.
        return {"include": str(base_dir / self.base), "tag": [], **source, **self.changes}

    def files(self, data_dir: Path) -> dict[str, Path]:
        """Give the file of each split in the prepared directory."""
        folder = data_dir.absolute() / self.folder
        return {split: folder / f"{split}.jsonl" for split in self.splits}


def _benchmark_tasks() -> dict[str, BenchmarkTask]:
    tasks = {}
    for subject in SUBJECTS:
        tasks[f"mos_mmlu_{subject}"] = BenchmarkTask(
            base=f"mmlu/default/mmlu_{subject}.yaml",
            repository="cais/mmlu",
            folder=f"mmlu/{subject}",
            splits=("test", "dev"),
            changes={"num_fewshot": 0},
        )
    tasks["mos_gsm8k"] = BenchmarkTask(
        base="gsm8k/gsm8k-cot.yaml",
        repository="openai/gsm8k",
        folder="gsm8k",
        splits=("test",),
        changes={"num_fewshot": 5},
    )
    examples = _five_math_examples()
    for subject, name in _MATH.items():
        changes: dict[str, Any] = {"task_alias": subject}
        if examples is not None:
            changes["num_fewshot"] = _MATH_EXAMPLES
            changes["fewshot_config"] = {"sampler": "first_n", "samples": examples}
        tasks[f"mos_math_{subject}"] = BenchmarkTask(
            base=f"minerva_math/minerva_math_{name}.yaml",
            repository="EleutherAI/hendrycks_math",
            folder=f"math/{subject}",
            splits=("test",),
            changes={**changes, "training_split": None},
        )
    return tasks


def _groups() -> list[dict[str, Any]]:
    mmlu = [_mean("acc", weighted=False)]
    of_mmlu = {
        f"mos_mmlu_{name}": [f"mos_mmlu_{subject}" for subject in subjects]
        for name, subjects in GROUPS.items()
    }
    configs: list[dict[str, Any]] = [
        {"group": name, "task": members, "aggregate_metric_list": mmlu}
        for name, members in {**of_mmlu, "mos_mmlu": list(of_mmlu)}.items()
    ]
    # MATH is reported as the share of all 5,000 problems solved.
    math = [_mean(metric, weighted=True) for metric in ("exact_match", "math_verify")]
    of_math = [f"mos_math_{subject}" for subject in _MATH]
    configs.append({"group": "mos_math", "task": of_math, "aggregate_metric_list": math})
    # lm-eval 0.4.9.2 takes all members of a group for groups if the first is one: the task leads.
    configs.append({"group": "mos_paper", "task": ["mos_gsm8k", "mos_math", "mos_mmlu"]})
    return [{**config, "metadata": {"version": 1.0}} for config in configs]


def _mean(metric: str, *, weighted: bool) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "weight_by_size": weighted}


def _five_math_examples() -> list[dict[str, str]] | None:
    """Give lm-eval's four examples of Minerva's prompt and a fifth one, written for it.

    Minerva's prompt (Lewkowycz et al. 2022, arXiv 2206.14858, appendix D.2) ends after four, and
    the paper evaluates with five without naming them. The fifth is nobody's: examples out of
    MATH's training set would differ between hub and local data, which has none.

    Returns:
        list[dict[str, str]] | None: the examples, or None if lm-eval's lack what they need. Loading
        the task then says what that is.
    """
    try:
        from lm_eval.tasks.minerva_math.utils import list_fewshot_samples
    except (ImportError, AssertionError):
        return None
    return [*list_fewshot_samples(), _FIFTH_MATH_EXAMPLE]


def _check_files(task: BenchmarkTask, data_dir: Path) -> None:
    for path in task.files(data_dir).values():
        if not path.is_file() or path.stat().st_size == 0:
            found = "an empty" if path.is_file() else "no"
            raise UserError(
                f"data_dir={data_dir} has {found} {path.relative_to(data_dir.absolute())}; fill a "
                "directory with `mos-tune prepare benchmarks --output-dir DIR`"
            )
