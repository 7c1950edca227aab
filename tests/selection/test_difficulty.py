# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from pathlib import Path

import pytest
import torch
from helpers.hf_models import tiny_llama, tiny_qwen2
from helpers.probing import examples, probes, torchtune_model
from helpers.response_losses import losses_by_transformers

from mos_tune.rewards import measuring
from mos_tune.selection.difficulty import difficulty, response_losses

PREFIX_ID = 7
# A conversation of two turns, an answer of one token, and no prompt at all, whose first token
# nothing precedes.
SPECIAL = [
    {"tokens": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, 3, -100, 5, 6]},
    {"tokens": [9, 8, 9], "labels": [-100, -100, 9]},
    {"tokens": [5, 4, 3], "labels": [5, 4, 3]},
]


@pytest.mark.parametrize(
    ("make", "model_type"), [(tiny_llama, "LLAMA3"), (tiny_qwen2, "QWEN2")], ids=["llama", "qwen"]
)
def test_losses_and_scores_are_those_of_transformers(make, model_type, tmp_path: Path):
    hf_model, builder = make(tmp_path)
    model = torchtune_model(builder, tmp_path, model_type)
    rows = SPECIAL + examples(9, seed=3)
    with measuring(model):
        measured = probes({"a": rows}).each(lambda b: response_losses(model, b, PREFIX_ID))
    expected = [losses_by_transformers(hf_model, row, PREFIX_ID) for row in rows]
    torch.testing.assert_close(
        measured, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=0
    )
    scores = [difficulty(*losses) for losses in measured.tolist()]
    assert scores == pytest.approx([difficulty(*losses) for losses in expected], rel=1e-4)
    assert min(scores) < 1 < max(scores)


def test_the_score_is_the_ratio_of_perplexities():
    assert difficulty(1.5, 1.5) == 1
    assert difficulty(1.0, 3.0) == pytest.approx(0.1353352832)
    assert difficulty(5000.0, 0.0) > 1e300
