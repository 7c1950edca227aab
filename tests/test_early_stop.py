# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.early_stop import main, peaks
from mos_tune.errors import UserError


def named(values):
    return dict(zip("ab", values, strict=True))


def written(folder, *validations):
    start = {"event": "start", "step": 0, "names": ["a", "b"], "probabilities": {"a": 1, "b": 0}}
    lines = [start]
    for step, losses, epochs in validations:
        event = {"event": "validation", "step": step, "losses": named(losses), "mean": 1.0}
        lines.append(event | ({"epochs": named(epochs)} if epochs else {}))
    (folder / "mixture.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


CURVES = (
    (0, (5.0, 5.0), (0.0, 0.0)),
    (10, (3.0, 4.0), (1.6, 0.2)),
    (20, (4.0, 3.0), (3.1, 0.4)),
    (30, (4.5, 3.5), (4.6, 0.6)),
)


def test_the_command_prints_overrides(tmp_path, capsys):
    main([str(written(tmp_path, *CURVES))])
    said = capsys.readouterr()
    assert said.out == "dataset.a.max_epochs=2\ndataset.b.max_epochs=1\n"
    assert said.err.splitlines()[0] == (
        "a: best held-out loss 3.0000 at step 10 after 1.60 passes, 4.5000 at the end"
    )


def test_a_dataset_that_was_best_at_the_end_has_no_limit(tmp_path, capsys):
    main([str(written(tmp_path, *CURVES[:3]))])
    assert capsys.readouterr().out == "dataset.a.max_epochs=2\n"


@pytest.mark.parametrize(
    "events", [CURVES[:1], [(step, losses, ()) for step, losses, _ in CURVES]], ids=["one", "old"]
)
def test_a_run_without_what_is_needed(tmp_path, events):
    folder = written(tmp_path, *events)
    with pytest.raises(UserError, match="at least 2 are needed, with their passes"):
        peaks(folder)
    with pytest.raises(SystemExit, match="mos-tune stopped: .*mixture.jsonl has"):
        main([str(folder)])
