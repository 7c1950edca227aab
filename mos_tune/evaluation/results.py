# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""``results.json``: what was measured of a checkpoint, in the checkpoint's folder.

One JSON object::

    {
      "format": 1,
      "name": "smollm2_135M_mos",              # of the run; seeds of one run may share it
      "checkpoint": {
        "dir": "output/smollm2_135M_mos/epoch_0",
        "fingerprint": "5f0c...",              # of the weights; scores of other weights are dropped
        "step": 40                             # optimizer steps behind it; null if not known
      },
      "mixture": {                             # null if the run left no mixture.jsonl
        "final_probabilities": {"mathematics": 0.25, ...},
        "average_probabilities": {...}         # over the steps up to "step"; null if not known
      },
      "scores": {                              # of tasks and of groups; names are lm-eval's
        "mmlu_anatomy": {"acc,none": 0.31, "acc_stderr,none": 0.04, ...},
        "mmlu": {"acc,none": 0.29, "acc_stderr,none": null}
      },
      "tasks": {                               # the same keys as "scores"
        "mmlu_anatomy": {
          "alias": "anatomy",
          "version": 1.0,                      # null where lm-eval has none
          "n_shot": 0,                         # null for a group
          "n_samples": 135,                    # questions asked; null for a group
          "evaluation": 0                      # position in "evaluations"
        }
      },
      "evaluations": [                         # the commands that the scores come from
        {
          "config": {...},                     # the recipe's config, as it ran
          "software": {"mos-tune": "0.1.0", "lm-eval": "0.4.9.2", "torch": ..., "torchtune": ...},
          "world_size": 1,
          "seconds": 12.3
        }
      ]
    }

A metric's key is lm-eval's own, ``"<metric>,<filter>"`` and ``"<metric>_stderr,<filter>"``; a
standard error that lm-eval does not give is null. Tasks may be measured by several commands: the
newest scores of a task replace its older ones, the other tasks stay.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mos_tune.base_checkpoint import fingerprint, weight_files
from mos_tune.errors import UserError
from mos_tune.files import write_whole

FILE_NAME = "results.json"
FORMAT = 1


def read_results(path: Path) -> dict[str, Any]:
    """Read a ``results.json``.

    Args:
        path (Path): the file, or the checkpoint folder that has it.

    Returns:
        dict[str, Any]: its content; see the module.

    Raises:
        UserError: if it is missing, not such a file, or not of the weights beside it.
    """
    if path.is_dir():
        path = path / FILE_NAME
    results = _read(path)
    weights = weight_files(path.parent)
    # torchtune copies all small files of the model it starts from into the exports.
    if weights and results["checkpoint"]["fingerprint"] != fingerprint(weights):
        raise UserError(f"{path} is of other weights than those beside it; evaluate them")
    return results


def write_results(
    folder: Path,
    *,
    name: str,
    checkpoint: Mapping[str, Any],
    mixture: Mapping[str, Any] | None,
    scores: Mapping[str, Mapping[str, Any]],
    tasks: Mapping[str, Mapping[str, Any]],
    evaluation: Mapping[str, Any],
) -> Path:
    """Write ``results.json``, together with what it had of other tasks on the same weights.

    Args:
        folder (Path): the checkpoint's folder.
        name (str): the run's name.
        checkpoint (Mapping[str, Any]): ``dir``, ``fingerprint`` and ``step``.
        mixture (Mapping[str, Any] | None): what the run's ``mixture.jsonl`` tells.
        scores (Mapping[str, Mapping[str, Any]]): metrics by task.
        tasks (Mapping[str, Mapping[str, Any]]): ``alias``, ``version``, ``n_shot`` and
            ``n_samples`` by task.
        evaluation (Mapping[str, Any]): ``config``, ``software``, ``world_size`` and ``seconds``.

    Returns:
        Path: the file.
    """
    path = folder / FILE_NAME
    old: dict[str, Any] = {"scores": {}, "tasks": {}, "evaluations": []}
    if path.exists():
        found = _read(path)
        if found["checkpoint"]["fingerprint"] == checkpoint["fingerprint"]:
            old = found
    kept = {task: about for task, about in old["tasks"].items() if task not in tasks}
    # Commands of which no score is left are of no use any more.
    used = sorted({about["evaluation"] for about in kept.values()})
    new_position = {position: new for new, position in enumerate(used)}
    results = {
        "format": FORMAT,
        "name": name,
        "checkpoint": dict(checkpoint),
        "mixture": mixture,
        "scores": {task: old["scores"][task] for task in kept} | dict(scores),
        "tasks": {
            task: {**about, "evaluation": new_position[about["evaluation"]]}
            for task, about in kept.items()
        }
        | {task: {**about, "evaluation": len(used)} for task, about in tasks.items()},
        "evaluations": [old["evaluations"][position] for position in used] + [dict(evaluation)],
    }
    write_whole(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False))
    return path


def metrics_by_task(output: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Give the metrics of every task and group in lm-eval's output that has any.

    What is not a finite number, such as the "N/A" for a standard error, becomes None.
    """
    scores = {}
    for task, found in output["results"].items():
        metrics = {key: _number(value) for key, value in found.items() if "," in key}
        if metrics:
            scores[task] = metrics
    return scores


def tasks_by_name(output: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give what else is to be known of each of :func:`metrics_by_task`."""
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
        lines = (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        write_whole(folder / f"samples_{task}.jsonl", lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; was the run evaluated?"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        found = results.get("format") if isinstance(results, dict) else type(results).__name__
        raise UserError(f"{path} has the format {found}, expected mos-tune's format {FORMAT}")
    return results


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)  # a version may be written as text
        except ValueError:
            return None
    return value if value is not None and math.isfinite(value) else None
