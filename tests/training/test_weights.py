# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.training.weights import with_numbers

SIZES = {"a": 10, "b": 1000, "c": 5000}
LENGTHS = {"tokens": {"a": 10.0, "b": 20.0, "c": 50.0}}
EVENTS = [
    {"event": "start", "step": 0, "names": list(SIZES), "probabilities": [0.4, 0.4, 0.2]},
    {"event": "validation", "step": 0, "losses": [3.0, 3.0, 3.0], "mean": 3.0},
    {"event": "update", "step": 10, "probabilities": [0.5, 0.25, 0.25], "rewards": [1, 1, 1]},
    {"event": "validation", "step": 15, "losses": [1.0, 2.0, 3.0], "mean": 2.0},
    {"event": "update", "step": 20, "probabilities": [0.125, 0.125, 0.75], "rewards": [1, 1, 1]},
    {"event": "validation", "step": 25, "losses": [1.0, 3.0, 3.0], "mean": 7 / 3},
    {"event": "end", "step": 30, "average_probabilities": [0.25, 0.35, 0.4]},
]


def written(folder, events=EVENTS, names=SIZES):
    file = folder / "mixture.jsonl"
    lines = []
    for event in events:
        fields = {
            key: dict(zip(names, value, strict=True))
            if isinstance(value, list) and key != "names"
            else value
            for key, value in event.items()
        }
        if fields["event"] == "start":
            fields["names"] = list(names)
        if "rewards" in fields:
            fields["raw_rewards"] = fields["rewards"]
        lines.append(json.dumps(fields) + "\n")
    file.write_text("".join(lines))
    return file


def weights(given, *, scorer=None, budget=640, **sampler):
    section = {"_component_": "mos_tune.mixture.MixtureSampler", "weights": given, **sampler}
    cfg = OmegaConf.create({"sampler": section, "scorer": scorer})
    return with_numbers(cfg, SIZES, budget, LENGTHS)


def test_without_weights_nothing_changes():
    cfg = OmegaConf.create({"sampler": {"_component_": "x", "temperature": 1}})
    assert with_numbers(cfg, SIZES, 640, {}) == cfg.sampler


def test_numbers_stay_and_the_temperature_is_said_not_to_count(caplog):
    caplog.set_level("INFO")
    given = weights({"a": 1, "b": 2, "c": 3}, temperature=10)
    assert given.weights == {"a": 1, "b": 2, "c": 3}
    assert "sampler.temperature 10 is not used" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        ("", [0.25, 0.35, 0.4]),
        ("@average", [0.25, 0.35, 0.4]),
        ("@final", [0.125, 0.125, 0.75]),
        ("@best", [0.5, 0.25, 0.25]),
    ],
)
def test_a_runs_mixture(tmp_path, suffix, expected, caplog):
    caplog.set_level("INFO")
    given = weights(f"{written(tmp_path)}{suffix}")
    assert list(given.weights.values()) == expected
    assert f"a {expected[0]:.4f}, b {expected[1]:.4f}" in caplog.text


def test_a_folders_name_may_have_an_at(tmp_path):
    folder = tmp_path / "run@2"
    folder.mkdir()
    assert list(weights(str(written(folder))).weights.values()) == [0.25, 0.35, 0.4]


@pytest.mark.parametrize(
    ("events", "suffix", "message"),
    [
        (EVENTS[:-1], "", "has not come to its end, step 25 is its last; .*jsonl@final is its"),
        ([one for one in EVENTS if one["event"] != "validation"], "@best", "no held-out losses"),
        ([], "", "expected a start event"),
    ],
)
def test_a_run_without_what_is_asked_for(tmp_path, events, suffix, message):
    with pytest.raises(UserError, match=f"sampler.weights /.*: .*{message}"):
        weights(f"{written(tmp_path, events)}{suffix}")


def test_a_run_on_other_datasets_and_one_that_is_not_there(tmp_path):
    file = written(tmp_path, names=["a", "b", "z"])
    with pytest.raises(UserError, match="is of a run on a, b, z; the datasets here are a, b, c"):
        weights(str(file))
    with pytest.raises(UserError, match="sampler.weights nowhere.jsonl: cannot read nowhere.jsonl"):
        weights("nowhere.jsonl")


def test_unimax_takes_the_runs_own_draws(caplog):
    caplog.set_level("INFO")
    assert weights("unimax").weights == {"a": 40, "b": 300, "c": 300}
    assert weights("unimax", unimax_epochs=1).weights == {"a": 10, "b": 315, "c": 315}
    assert "unimax_epochs" not in weights("unimax", unimax_epochs=1)
    assert "by size" not in caplog.text
    assert weights("unimax", budget=60100).weights == {"a": 40, "b": 4000, "c": 20000}
    assert "4 passes over all datasets are 24,040 sequences, fewer than the run's 60,100; the " in (
        caplog.text
    )
    assert "each dataset is passed over 10 times" in caplog.text


def test_a_schedule_may_have_all_kinds(tmp_path):
    file = str(written(tmp_path))
    given = weights([[0, "unimax"], [100, {"a": 1, "b": 1, "c": 1}], [200, file]])
    assert [step for step, _ in given.weights] == [0, 100, 200]
    assert given.weights[0][1] == {"a": 40, "b": 300, "c": 300}
    assert given.weights[2][1] == {"a": 0.25, "b": 0.35, "c": 0.4}


def test_options_that_contradict_each_other():
    with pytest.raises(UserError, match="unimax_epochs is 4, but sampler.weights is None and not"):
        weights(None, unimax_epochs=4)
    with pytest.raises(UserError, match="changes from step to step, but scorer is not null"):
        weights([[0, "unimax"]], scorer={"_component_": "mos_tune.scorers.MLPScorer"})


def test_in_tokens_unimax_deals_out_tokens_and_another_units_run_is_refused(tmp_path):
    given = weights("unimax", unit="tokens").weights
    # 40 draws of a are 400 tokens; the other 600 draws give b and c as many tokens each.
    assert given == pytest.approx({"a": 400, "b": 600 / (1 / 20 + 1 / 50), "c": 600 / 0.07})
    with pytest.raises(UserError, match="of a run with sampler.unit sequences; here it is tokens"):
        weights(str(written(tmp_path)), unit="tokens")
    in_tokens = [EVENTS[0] | {"unit": "tokens"}, *EVENTS[1:]]
    file = written(tmp_path, in_tokens)
    assert list(weights(str(file), unit="tokens").weights.values()) == [0.25, 0.35, 0.4]
