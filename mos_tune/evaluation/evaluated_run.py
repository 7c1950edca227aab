# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What one run's ``results.json`` says, in the table's columns."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from mos_tune.errors import UserError
from mos_tune.evaluation.mmlu import GROUPS, SUBJECTS
from mos_tune.evaluation.results import FILE_NAME, read_results
from mos_tune.metrics.curves import NotBegun, read_curves

PAPER = (
    "MMLU Mathematics",
    "MMLU Medicine",
    "MMLU Others",
    "MMLU",
    "MT-bench turn 1",
    "MT-bench turn 2",
    "MT-bench",
    "mu",
)
"""The columns of Table 2. ``mu`` is the mean of ``MMLU`` and ten times ``MT-bench``."""

SPECIALISTS = ("GSM8K", "MATH")
"""The columns of the specialists' table, beside MMLU Mathematics."""

_MT_BENCH = {"MT-bench turn 1": "turn_1", "MT-bench turn 2": "turn_2", "MT-bench": "mean"}

_ABOUT = ("version", "n_shot", "n_samples")
_CONFIG = (
    "apply_chat_template",
    "system_instruction",
    "fewshot_as_multiturn",
    "gen_kwargs",
    "judge",
    "generation",
)
"""What changes a score, of the task and of the command that measured it."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A score and how it was measured."""

    value: float
    """Per cent; MT-bench's from 1 to 10."""

    settings: Mapping[str, Any]
    """What must be the same for two scores to be compared, in words and as value."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluated checkpoint."""

    path: Path
    """Its ``results.json``."""

    name: str
    """Name of the run; those of several seeds share it."""

    fingerprint: str
    """Of the weights."""

    scores: Mapping[str, Measured]
    """By column; without those that were not measured."""

    probabilities: Mapping[str, float]
    """Average over the steps of each dataset's probability; empty if not known."""


def read_run(run_dir: Path) -> Run:
    """Read one run.

    Args:
        run_dir (Path): a checkpoint's folder, its ``results.json``, or the run's ``output_dir`` if
            one of its checkpoints was evaluated.

    Raises:
        UserError: if there is no complete ``results.json``, or more than one.
    """
    path = _find(run_dir)
    results = read_results(path)
    try:
        return Run(
            path=path,
            name=results["name"],
            fingerprint=results["checkpoint"]["fingerprint"],
            scores=_scores(results),
            probabilities=_average_probabilities(path, results),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not complete, evaluate again: {error!r}") from error


def _find(run_dir: Path) -> Path:
    if run_dir.is_file():
        return run_dir
    if (run_dir / FILE_NAME).is_file():
        return run_dir / FILE_NAME
    found = sorted(run_dir.glob(f"epoch_*/{FILE_NAME}"))
    if len(found) > 1:
        folders = " and ".join(path.parent.name for path in found)
        raise UserError(f"{run_dir} has results of {folders}; name the folder of one of them")
    if not found:
        raise UserError(
            f"{run_dir} has no {FILE_NAME}, nor has an epoch_N in it; evaluate it first"
        )
    return found[0]


def _scores(results: Mapping[str, Any]) -> dict[str, Measured]:
    columns: dict[str, Measured | None] = {}
    for name, subjects in GROUPS.items():
        columns[f"MMLU {name.capitalize()}"] = _mmlu(results, subjects)
    columns["MMLU"] = _mmlu(results, SUBJECTS)
    for column, metric in _MT_BENCH.items():
        columns[column] = _one(results, "mt_bench", f"{metric},none", scale=1.0)
    mmlu, mt_bench = columns["MMLU"], columns["MT-bench"]
    if mmlu and mt_bench:
        settings = {**mmlu.settings, **mt_bench.settings}
        columns["mu"] = Measured(value=(mmlu.value + 10 * mt_bench.value) / 2, settings=settings)
    columns["GSM8K"] = _one(results, "mos_gsm8k", "exact_match,strict-match")
    columns["MATH"] = _one(results, "mos_math", "exact_match,none")
    return {column: found for column, found in columns.items() if found}


def _mmlu(results: Mapping[str, Any], subjects: Iterable[str]) -> Measured | None:
    values: list[float] = []
    settings: dict[str, Any] = {}
    for subject in subjects:
        # lm-eval's own tasks ask the same questions in the same words.
        names = (f"mos_mmlu_{subject}", f"mmlu_{subject}")
        task = next((name for name in names if name in results["scores"]), None)
        found = _one(results, task, "acc,none", label=subject) if task else None
        if found is None:
            return None
        values.append(found.value)
        settings.update(found.settings)
    return Measured(value=mean(values), settings=settings)


def _one(
    results: Mapping[str, Any],
    task: str,
    metric: str,
    *,
    label: str | None = None,
    scale: float = 100.0,
) -> Measured | None:
    if task not in results["scores"] or results["scores"][task][metric] is None:
        return None
    value = float(results["scores"][task][metric]) * scale
    return Measured(value=value, settings=_settings(results, task, label or task))


def _settings(results: Mapping[str, Any], task: str, label: str) -> dict[str, Any]:
    about = results["tasks"][task]
    config = results["evaluations"][about["evaluation"]]["config"]
    settings = {f"{key} of {label}": about[key] for key in _ABOUT}
    # False, nothing and no such key are one to the recipe.
    settings.update({f"{key} of {label}": config.get(key) or None for key in _CONFIG})
    # A group says of itself neither how many questions were asked nor after how many examples.
    for member in results["tasks"]:
        if member.startswith(f"{task}_"):
            settings.update(_settings(results, member, member))
    return settings


def _average_probabilities(path: Path, results: Mapping[str, Any]) -> Mapping[str, float]:
    mixture = results["mixture"]
    if mixture is None:
        return {}
    if mixture["average_probabilities"] is not None:
        return dict(mixture["average_probabilities"])
    # Not known when the checkpoint was evaluated, because training was still under way.
    try:
        curves = read_curves(path.resolve().parent.parent / "mixture.jsonl")
    except NotBegun:
        return {}
    return curves.average_probabilities or {}
