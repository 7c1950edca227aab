# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.errors import UserError
from mos_tune.selection.scores import Scores

SETTINGS = {"weights": "5f0c", "dtype": "fp32"}


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
