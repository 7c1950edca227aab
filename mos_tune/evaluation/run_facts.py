# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the folder of a checkpoint tells about the training run behind it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_EXPORT = re.compile(r"epoch_(\d+)")
_SEED = re.compile(r"seed_\d+")


def run_name(checkpoint_dir: Path) -> str:
    """Give the run's name, which the seeds of a sweep's row share.

    It is the output folder's, or the one's above it if that is ``seed_N``; that of the checkpoint's
    folder if it is no export.
    """
    folder = checkpoint_dir.resolve()
    if not _EXPORT.fullmatch(folder.name):
        return folder.name
    run = folder.parent
    return run.parent.name if _SEED.fullmatch(run.name) else run.name


def step_and_mixture(checkpoint_dir: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Find how long the checkpoint was trained, and on which mixture.

    Args:
        checkpoint_dir (Path): an ``epoch_N`` folder of a training run, or any other folder.

    Returns:
        tuple[int | None, dict[str, Any] | None]: optimizer steps, None if the run did not end;
        and the probabilities at that step with their average over the steps, None if there is no
        ``mixture.jsonl`` beside the folder.
    """
    folder = checkpoint_dir.resolve()
    export = _EXPORT.fullmatch(folder.name)
    record = folder.parent / "mixture.jsonl"
    if export is None or not record.is_file():
        return None, None
    start, updates, end = _events(record)
    if start is None:
        return None, None
    exports = [_EXPORT.fullmatch(path.name) for path in folder.parent.iterdir()]
    epochs = 1 + max(int(found[1]) for found in exports if found)
    # All epochs of a run have as many steps.
    step = None if end is None else end["step"] * (int(export[1]) + 1) // epochs
    seen = [start] + [event for event in updates if step is None or event["step"] <= step]
    average = None if step is None else _average(seen, step)
    return step, {
        "final_probabilities": seen[-1]["probabilities"],
        "average_probabilities": average,
    }


def _events(
    record: Path,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], dict[str, Any] | None]:
    start, updates, end = None, [], None
    for line in record.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a killed run
            continue
        if event["event"] == "start":
            start = event
        elif event["event"] == "update":
            updates.append(event)
        elif event["event"] == "end":
            end = event
    return start, updates, end


def _average(events: list[dict[str, Any]], step: int) -> Mapping[str, float]:
    # An update after step t is the mixture from step t + 1 on.
    ends = [event["step"] for event in events[1:]] + [step]
    return {
        name: sum(
            event["probabilities"][name] * (end - event["step"])
            for event, end in zip(events, ends, strict=True)
        )
        / step
        for name in events[0]["probabilities"]
    }
