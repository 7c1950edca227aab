# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The curves that mixture.jsonl holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError

MEAN = "mean of datasets"
"""The name of the mean held-out loss among the losses of a curve."""

Curve = list[tuple[int, Mapping[str, float]]]
"""Optimizer step and one value per dataset, in the order of the file."""


class NotBegun(UserError):
    """There is no mixture.jsonl yet, or nothing in it."""


@dataclass
class RunCurves:
    """What one run logged, each quantity over the optimizer steps.

    Args:
        names (list[str]): the datasets, in the config's order.
        last_step (int): step of the last event.
        unit (str): what a draw takes: examples, or where datasets are packed, sequences.
        share_of (str): what a probability is a share of: sequences (draws), tokens or
            response_tokens.
        lengths (Mapping[str, Mapping[str, float]]): mean length of a draw by unit and dataset;
            empty where the run does not know it.
        probabilities (Curve): at the start, and whenever the mixture changed.
        rewards (Curve): after smoothing (Eq. 11), at every update.
        raw_rewards (Curve): before smoothing, at every update.
        losses (Curve): held-out losses in nats per response token, with their mean as ``MEAN`` if
            there are several.
        epochs (Curve): passes over each dataset until each of the held-out losses.
        average_probabilities (Mapping[str, float] | None): over the steps of a finished run.
    """

    names: list[str]
    last_step: int = 0
    unit: str = "examples"
    share_of: str = "sequences"
    lengths: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    probabilities: Curve = field(default_factory=list)
    rewards: Curve = field(default_factory=list)
    raw_rewards: Curve = field(default_factory=list)
    losses: Curve = field(default_factory=list)
    epochs: Curve = field(default_factory=list)
    average_probabilities: Mapping[str, float] | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.average_probabilities is not None

    def shares(self, unit: str) -> Curve:
        """Give what the probabilities come to as expected shares of another unit."""
        ones = dict.fromkeys(self.names, 1.0)
        here, there = (self.lengths.get(one, ones) for one in (self.share_of, unit))
        curve: Curve = []
        for step, mixture in self.probabilities:
            amounts = {name: p * there[name] / here[name] for name, p in mixture.items()}
            total = sum(amounts.values()) or 1.0  # at the end all may be exhausted
            curve.append((step, {name: amount / total for name, amount in amounts.items()}))
        return curve

    def add(self, event: Mapping[str, Any]) -> None:
        """Append one event of mixture.jsonl; kinds that hold no curve count as steps only."""
        self.last_step = event["step"]
        if event["event"] == "start" and event.get("draws_per_epoch") != event.get("sizes"):
            self.unit = "sequences"
        if event["event"] == "start":
            self.share_of = event.get("unit", "sequences")
            self.lengths = event.get("lengths", {})
        if "probabilities" in event:
            self._append(self.probabilities, event["probabilities"])
        if event["event"] == "update":
            self._append(self.rewards, event["rewards"])
            self._append(self.raw_rewards, event["raw_rewards"])
        if event["event"] == "validation":
            mean = {MEAN: event["mean"]} if len(event["losses"]) > 1 else {}
            self._append(self.losses, {**event["losses"], **mean})
            if "epochs" in event:
                self._append(self.epochs, event["epochs"])
        if event["event"] == "end":
            self.average_probabilities = event["average_probabilities"]

    def _append(self, curve: Curve, values: Mapping[str, float]) -> None:
        # A run that was resumed from an earlier checkpoint logs the steps since then once more.
        while curve and curve[-1][0] >= self.last_step:
            curve.pop()
        curve.append((self.last_step, values))


def read_curves(mixture_jsonl: Path) -> RunCurves:
    """Read a run's mixture.jsonl, finished or not.

    Args:
        mixture_jsonl (Path): one event per line, the start event first. A last line that a killed
            run left unfinished is ignored.

    Returns:
        RunCurves: the run's curves.

    Raises:
        NotBegun: if the file is missing or has no whole event.
        UserError: if it cannot be read, or has a line that is not an event.
    """
    try:
        lines = mixture_jsonl.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError as error:
        raise NotBegun(f"cannot read {mixture_jsonl}: {error.strerror}") from error
    except OSError as error:
        raise UserError(f"cannot read {mixture_jsonl}: {error.strerror}") from error
    run = None
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise UserError(
                f"{mixture_jsonl}, line {number}: not a JSON object: {error}"
            ) from error
        try:
            if run is None:
                run = RunCurves(names=list(event["names"]))
            run.add(event)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{mixture_jsonl}, line {number}: expected a mixture event, found {line[:60]!r}"
            ) from error
    if run is None:
        raise NotBegun(f"{mixture_jsonl}: expected a start event in line 1, found no event")
    return run
