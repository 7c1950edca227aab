# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""lm-eval's output, reduced to what is kept."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mos_tune.evaluation.mmlu import mmlu_means


def put_means(output: Mapping[str, Any]) -> None:
    """Put the paper's means over MMLU's subjects in the place of lm-eval's, where it has any."""
    sizes = {task: asked["effective"] for task, asked in output["n-samples"].items()}
    for group, means in mmlu_means(output["results"], sizes).items():
        for table in ("results", "groups"):
            if group in output.get(table, {}):
                output[table][group].update(means)


def metrics_by_task(output: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Give the metrics of every task and group that has any.

    What is not a finite number, such as the "N/A" for a standard error, becomes None.
    """
    scores = {}
    for task, found in output["results"].items():
        metrics = {key: _number(value) for key, value in found.items() if "," in key}
        if metrics:
            scores[task] = metrics
    return scores


def tasks_by_name(output: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give what else is to be known of each of these tasks and groups."""
    asked = output["n-samples"]
    return {
        task: {
            "alias": output["results"][task].get("alias", task).strip(" -"),
            "version": _number(output["versions"].get(task)),
            "n_shot": output["n-shot"].get(task) if task in asked else None,
            "n_samples": asked[task]["effective"] if task in asked else None,
        }
        for task in metrics_by_task(output)
    }


def write_samples(folder: Path, samples: Mapping[str, Any]) -> None:
    """Write every question with the model's answers to ``samples_<task>.jsonl``."""
    for task, rows in samples.items():
        path = folder / f"samples_{task}.jsonl"
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with open(unfinished, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        os.replace(unfinished, path)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)  # a version may be written as text
        except ValueError:
            return None
    return value if value is not None and math.isfinite(value) else None
