# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Datasets that are drawn no more once their held-out loss has stopped falling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mos_tune.errors import UserError, check_whole, is_number


@dataclass
class _Best:
    loss: float = float("inf")
    step: int = 0
    since: int = 0


class EarlyStop:
    """Count, for every dataset, the measurements since its best held-out loss.

    A small dataset is memorised while large ones are still being learned: its held-out loss rises
    again. Its best loss counts as beaten only by more than ``min_delta``, so that noise does not
    hide that.

    Args:
        names (Sequence[str]): the datasets.
        patience (int): measurements without a new best after which a dataset is due. Default 3.
        min_delta (float): nats per response token by which a new best must be lower. Default 0.

    Raises:
        UserError: if an option is out of its range.

    Source: after mSFT (arXiv 2603.21606), which goes back to a checkpoint near the best loss where
    this only draws no more.
    """

    def __init__(self, names: Sequence[str], *, patience: int = 3, min_delta: float = 0.0) -> None:
        check_whole("early_stop.patience", patience)
        if not is_number(min_delta) or min_delta < 0:
            raise UserError(
                f"early_stop.min_delta must be a number of at least 0, got {min_delta!r}"
            )
        self._patience, self._min_delta = patience, min_delta
        self._best = {name: _Best() for name in names}

    def due(self, step: int, losses: Mapping[str, float]) -> dict[str, int]:
        """Take in held-out losses, and give which datasets have had none better for too long.

        Args:
            step (int): the optimizer step that has been made.
            losses (Mapping[str, float]): nats per response token, by dataset.

        Returns:
            dict[str, int]: the step of each one's best loss, the longest past first.
        """
        for name, best in self._best.items():
            if losses[name] < best.loss - self._min_delta:
                best.loss, best.step, best.since = losses[name], step, 0
            else:
                best.since += 1
        due = {name: b.step for name, b in self._best.items() if b.since >= self._patience}
        return dict(sorted(due.items(), key=lambda one: one[1]))

    def state_dict(self) -> dict[str, Any]:
        """Give best loss, its step, and the measurements since, by dataset."""
        return {name: [best.loss, best.step, best.since] for name, best in self._best.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state`` was taken."""
        self._best = {name: _Best(*values) for name, values in state.items()}
