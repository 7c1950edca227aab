# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The tasks' and groups' configs, each a change to one of lm-eval's own tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mos_tune.evaluation.mmlu import GROUPS, SUBJECTS
from mos_tune.evaluation.tasks.math_examples import EXAMPLES, five_examples

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
        """Returns the config, to be read by lm-eval.

        Args:
            base_dir: lm-eval's folder of tasks.
            data_dir: The prepared directory; None: the hub.
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
        """Returns the file of each split in the prepared directory."""
        folder = data_dir.absolute() / self.folder
        return {split: folder / f"{split}.jsonl" for split in self.splits}


def benchmark_tasks() -> dict[str, BenchmarkTask]:
    """Returns the tasks by name."""
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
    examples = five_examples()
    for subject, name in _MATH.items():
        changes: dict[str, Any] = {"task_alias": subject}
        if examples is not None:
            changes["num_fewshot"] = EXAMPLES
            changes["fewshot_config"] = {"sampler": "first_n", "samples": examples}
        tasks[f"mos_math_{subject}"] = BenchmarkTask(
            base=f"minerva_math/minerva_math_{name}.yaml",
            repository="EleutherAI/hendrycks_math",
            folder=f"math/{subject}",
            splits=("test",),
            changes={**changes, "training_split": None},
        )
    return tasks


def groups() -> list[dict[str, Any]]:
    """Returns the configs of the groups."""
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
