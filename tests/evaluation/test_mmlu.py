# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from math import sqrt
from pathlib import Path

import lm_eval.tasks
import pytest

from mos_tune.evaluation.mmlu import GROUPS, SUBJECTS, mmlu_means


def test_groups_are_the_papers() -> None:
    assert {name: len(subjects) for name, subjects in GROUPS.items()} == {
        "mathematics": 5,
        "medicine": 9,
        "others": 43,
    }
    assert set(GROUPS["mathematics"]) == {
        "abstract_algebra",
        "college_mathematics",
        "elementary_mathematics",
        "high_school_mathematics",
        "high_school_statistics",
    }
    assert set(GROUPS["medicine"]) == {
        "anatomy",
        "clinical_knowledge",
        "college_medicine",
        "human_aging",
        "human_sexuality",
        "medical_genetics",
        "nutrition",
        "professional_medicine",
        "virology",
    }


def test_subjects_are_all_of_mmlu_once() -> None:
    folder = Path(lm_eval.tasks.__file__).parent / "mmlu/default"
    subjects = sorted(path.stem.removeprefix("mmlu_") for path in folder.glob("mmlu_*.yaml"))
    assert list(SUBJECTS) == subjects
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 57


def test_means_by_hand() -> None:
    values = dict(zip(GROUPS["mathematics"], (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    sizes = dict(zip(GROUPS["mathematics"], (100, 100, 100, 100, 600), strict=True))
    scores = {
        f"mos_mmlu_{subject}": {"acc,none": value, "acc_stderr,none": 0.03}
        for subject, value in values.items()
    }
    means = mmlu_means(scores, {f"mos_mmlu_{subject}": size for subject, size in sizes.items()})
    assert means == {
        "mos_mmlu_mathematics": {
            "acc,none": pytest.approx(0.3),
            "acc_stderr,none": pytest.approx(0.03 / sqrt(5)),
            "acc_weighted,none": pytest.approx(0.4),
            "acc_weighted_stderr,none": pytest.approx(0.03 * sqrt(4 * 0.01 + 0.36)),
        }
    }


def test_mean_of_all_counts_subjects_not_groups() -> None:
    right = {subject: float(subject in GROUPS["mathematics"]) for subject in SUBJECTS}
    scores = {f"mos_mmlu_{subject}": {"acc,none": value} for subject, value in right.items()}
    means = mmlu_means(scores, dict.fromkeys(scores, 7))
    assert means["mos_mmlu"]["acc,none"] == pytest.approx(5 / 57)
    assert means["mos_mmlu_others"] == {"acc,none": 0.0, "acc_weighted,none": 0.0}
