# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.


import pytest

from mos_tune.base_checkpoint import fingerprint
from mos_tune.errors import UserError
from mos_tune.evaluation.results import read_results, write_results

ABOUT = {"alias": "t", "version": 1.0, "n_shot": 0, "n_samples": 5}


def write(folder, scores, weights="w", **config):
    return write_results(
        folder,
        name="run",
        checkpoint={"dir": str(folder), "fingerprint": weights, "step": 3},
        mixture=None,
        scores={task: {"acc,none": value} for task, value in scores.items()},
        tasks={task: ABOUT for task in scores},
        evaluation={"config": config, "software": {}, "world_size": 1, "seconds": 1.0},
    )


def test_newer_scores_replace_older_ones_and_other_tasks_stay(tmp_path):
    write(tmp_path, {"a": 0.1, "b": 0.2}, limit=1)
    write(tmp_path, {"b": 0.3, "c": 0.4}, limit=2)
    write(tmp_path, {"c": 0.5}, limit=3)
    results = read_results(tmp_path)
    assert {task: found["acc,none"] for task, found in results["scores"].items()} == {
        "a": 0.1,
        "b": 0.3,
        "c": 0.5,
    }
    assert results["scores"].keys() == results["tasks"].keys()
    limits = {
        task: results["evaluations"][about["evaluation"]]["config"]["limit"]
        for task, about in results["tasks"].items()
    }
    assert limits == {"a": 1, "b": 2, "c": 3}
    write(tmp_path, {"a": 0.6}, limit=4)
    assert len(read_results(tmp_path)["evaluations"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_scores_of_other_weights_are_dropped(tmp_path):
    write(tmp_path, {"a": 0.1}, weights="old")
    write(tmp_path, {"b": 0.2}, weights="new")
    assert list(read_results(tmp_path)["scores"]) == ["b"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write(tmp_path, {"a": 0.1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, {"a": float("nan")})
    assert read_results(tmp_path)["scores"] == {"a": {"acc,none": 0.1}}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "results.json cannot be read: No such file or directory; was the run evaluated"),
        ("{", "results.json is not valid JSON"),
        ("[]", "has the format list, expected mos-tune's format 1"),
        ('{"format": 2}', "has the format 2, expected mos-tune's format 1"),
    ],
)
def test_what_is_no_result_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_results(tmp_path)


def test_results_that_were_copied_to_other_weights_are_refused(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1" * 1000)
    write(tmp_path, {"a": 0.1}, weights=fingerprint([weights]))
    assert read_results(tmp_path)["scores"]
    weights.write_bytes(b"2" * 1000)
    with pytest.raises(UserError, match="is of other weights than those beside it"):
        read_results(tmp_path)
    weights.unlink()
    assert read_results(tmp_path)["scores"]
