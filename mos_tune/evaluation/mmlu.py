# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MMLU's subjects in the paper's groups, and the means over them."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

GROUPS: dict[str, tuple[str, ...]] = {
    "mathematics": (
        "abstract_algebra",
        "college_mathematics",
        "elementary_mathematics",
        "high_school_mathematics",
        "high_school_statistics",
    ),
    "medicine": (
        "anatomy",
        "clinical_knowledge",
        "college_medicine",
        "human_aging",
        "human_sexuality",
        "medical_genetics",
        "nutrition",
        "professional_medicine",
        "virology",
    ),
    "others": (
        "astronomy",
        "business_ethics",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "econometrics",
        "electrical_engineering",
        "formal_logic",
        "global_facts",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_european_history",
        "high_school_geography",
        "high_school_government_and_politics",
        "high_school_macroeconomics",
        "high_school_microeconomics",
        "high_school_physics",
        "high_school_psychology",
        "high_school_us_history",
        "high_school_world_history",
        "international_law",
        "jurisprudence",
        "logical_fallacies",
        "machine_learning",
        "management",
        "marketing",
        "miscellaneous",
        "moral_disputes",
        "moral_scenarios",
        "philosophy",
        "prehistory",
        "professional_accounting",
        "professional_law",
        "professional_psychology",
        "public_relations",
        "security_studies",
        "sociology",
        "us_foreign_policy",
        "world_religions",
    ),
}
"""The subjects of each group (Mixture-of-Skills, arXiv 2406.08811, Table 7)."""

SUBJECTS = tuple(sorted(subject for group in GROUPS.values() for subject in group))
"""All 57 subjects."""

MMLU_GROUPS = {
    **{f"mos_mmlu_{name}": group for name, group in GROUPS.items()},
    "mos_mmlu": SUBJECTS,
}
"""Subjects of each of our lm-eval groups."""


def put_means(output: Mapping[str, Any]) -> None:
    """Put the paper's means over MMLU's subjects in the place of lm-eval's, in its output."""
    sizes = {task: asked["effective"] for task, asked in output["n-samples"].items()}
    for group, means in mmlu_means(output["results"], sizes).items():
        for table in ("results", "groups"):
            if group in output.get(table, {}):
                output[table][group].update(means)


def mmlu_means(
    scores: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Average the accuracy of each group, and of all subjects, over subjects and over questions.

    ``acc,none`` is the mean over subjects, each counting the same, as the paper reports it;
    ``acc_weighted,none`` is the mean over questions, as lm-eval's own ``mmlu`` reports it. Each
    has the standard error of that very mean, of subjects taken as independent. lm-eval's own
    standard error of a group is that of the mean over questions, whichever mean is asked for
    (up to 0.4.12), so put these in the place of its.

    Args:
        scores (Mapping[str, Mapping[str, Any]]): lm-eval's metrics by task.
        sizes (Mapping[str, int]): number of questions asked by task.

    Returns:
        dict[str, dict[str, float]]: metrics of ``mos_mmlu_mathematics``, ``mos_mmlu_medicine``,
        ``mos_mmlu_others`` and ``mos_mmlu``; without those of which a subject is missing.
    """
    means = {}
    for name, subjects in MMLU_GROUPS.items():
        tasks = [f"mos_mmlu_{subject}" for subject in subjects]
        if all(task in scores for task in tasks):
            rows = [scores[task] for task in tasks]
            means[name] = {
                **_mean(rows, [1.0] * len(rows), "acc"),
                **_mean(rows, [float(sizes[task]) for task in tasks], "acc_weighted"),
            }
    return means


def _mean(
    rows: Sequence[Mapping[str, Any]], weights: Sequence[float], metric: str
) -> dict[str, float]:
    shares = [weight / sum(weights) for weight in weights]
    values = [row["acc,none"] for row in rows]
    mean = {f"{metric},none": sum(s * v for s, v in zip(shares, values, strict=True))}
    # lm-eval has "N/A" for the standard error of a single question.
    errors = [row.get("acc_stderr,none") for row in rows]
    known = [error for error in errors if isinstance(error, float)]
    if len(known) == len(rows):
        variance = sum((s * e) ** 2 for s, e in zip(shares, known, strict=True))
        mean[f"{metric}_stderr,none"] = sqrt(variance)
    return mean
