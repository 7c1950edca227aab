# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from pathlib import Path

import pytest
import torch
from helpers.hf_models import tiny_llama, tiny_qwen2
from helpers.probing import examples, probes, torchtune_model
from helpers.response_losses import losses_by_transformers

from mos_tune.errors import UserError
from mos_tune.rewards import measuring
from mos_tune.selection.scores import Scores, difficulty, response_losses

PREFIX_ID = 7
# A conversation of two turns, an answer of one token, and no prompt at all, whose first token
# nothing precedes.
SPECIAL = [
    {"tokens": [1, 2, 3, 4, 5, 6], "labels": [-100, -100, 3, -100, 5, 6]},
    {"tokens": [9, 8, 9], "labels": [-100, -100, 9]},
    {"tokens": [5, 4, 3], "labels": [5, 4, 3]},
]
SETTINGS = {"weights": "5f0c", "dtype": "fp32"}


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


@pytest.fixture
def path(tmp_path):
    """A file with the scores of two examples."""
    path = tmp_path / "scores" / "a.jsonl"
    scores = Scores(path, SETTINGS)
    scores.add([(4, 1.0, 1.0), (2, 1.0, 2.0)])
    scores.close()
    return path


def test_what_was_scored_stays_and_is_not_written_again(path):
    scores = Scores(path, SETTINGS)
    scores.add([(2, 9.0, 9.0), (3, 2.0, 1.0)])
    scores.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"settings": SETTINGS}
    assert [line["index"] for line in lines[1:]] == [4, 2, 3]
    assert lines[2] == {"index": 2, "score": pytest.approx(0.36788, abs=1e-5)} | {
        "loss": 1.0,
        "loss_alone": 2.0,
    }
    assert scores.by_index == {line["index"]: line["score"] for line in lines[1:]}


def test_a_half_written_line_is_dropped(path):
    path.write_bytes(path.read_bytes()[:-20])
    scores = Scores(path, SETTINGS)
    assert list(scores.by_index) == [4]
    scores.close()


def test_other_settings_are_refused(path):
    with pytest.raises(UserError, match="a.jsonl holds scores with another dtype: fp32, not bf16"):
        Scores(path, SETTINGS | {"dtype": "bf16"})
    # The refusal has let go of the file.
    Scores(path, SETTINGS).close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"index": 1, "score": 0.5}', "line 1 of .* has no settings"),
        (json.dumps({"settings": SETTINGS}) + '\n{"index": 1}', "line 2 of .* is no score"),
    ],
)
def test_another_file_is_refused(tmp_path, text, words):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{text}\n")
    with pytest.raises(UserError, match=words):
        Scores(path, SETTINGS)
