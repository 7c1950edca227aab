# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""When a scorer learns: every S steps, or ever more rarely."""

from collections.abc import Sequence
from typing import Any

from mos_tune.errors import UserError, check_whole

UpdateEvery = int | Sequence[Sequence[int | None]]
"""S, or pairs of the step from which it holds and S."""

_FORM = "must be a whole number, or pairs such as [[0, 20], [200, 100], [800, null]]"


class UpdateSchedule:
    """Number the updates of a run: a function of the step alone, so that a resumed run agrees.

    ``[[0, 20], [200, 100], [800, null]]`` has updates after steps 20, 40, ... 180, 200, 300, ...
    700. After step 800 nothing is measured any more, and the mixture stays at its average over
    the steps so far: in a pilot with small models the learned average, held fixed, trained as
    well as the path to it, and what is not measured costs nothing.

    Args:
        update_every (UpdateEvery): S, optimizer steps between two updates, or pairs of a step and
            the S from there on, the first of step 0, the last one possibly ``null``.

    Raises:
        UserError: if it is neither.

    Attributes:
        first (int): the step after which the first update comes.
        frozen_after (int | None): the step after which the mixture stays; None: it never does.

    Example:
        >>> schedule = UpdateSchedule([[0, 20], [50, 100], [300, None]])
        >>> [step for step in range(1, 400) if schedule.update_after(step)]
        [20, 40, 50, 150, 250]
    """

    def __init__(self, update_every: UpdateEvery) -> None:
        if not isinstance(update_every, Sequence) or isinstance(update_every, str):
            check_whole("scorer.update_every", update_every)
            update_every = [(0, update_every)]
        wrong = f"scorer.update_every {_FORM}, got {update_every}"
        self._pairs: list[tuple[int, int]] = []
        self.frozen_after: int | None = None
        for pair in update_every:
            if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
                raise UserError(wrong)
            first, every = pair
            check_whole("a step in scorer.update_every", first, 0)
            assert first is not None
            if self.frozen_after is not None:
                raise UserError(f"{wrong}: null is for ever, and must be the last")
            rises = first > self._pairs[-1][0] if self._pairs else first == 0
            if not rises:
                raise UserError(f"{wrong}: its steps must begin at 0 and rise")
            if every is None and self._pairs:
                self.frozen_after = first
            else:
                check_whole("scorer.update_every", every)
                assert every is not None
                self._pairs.append((first, every))
        if not self._pairs:
            raise UserError(wrong)
        # An update follows the first step of every pair but the first one's.
        self.first = min([self._pairs[0][1], *(first for first, _ in self._pairs[1:])])
        if self.frozen_after is not None and self.frozen_after <= self.first:
            raise UserError(f"{wrong}: null comes before the first update, step {self.first}")

    def update_after(self, step: int) -> int | None:
        """Give the number, from 1, of the update that follows an optimizer step, if one does."""
        if self.frozen_after is not None and step >= self.frozen_after:
            return None
        number = -1  # step 0 is none
        for index, (first, every) in enumerate(self._pairs):
            following = self._pairs[index + 1][0] if index + 1 < len(self._pairs) else step + 1
            steps = min(step, following - 1) - first
            number += steps // every + 1
            if step < following:
                break
        return None if steps % every else number

    def setting(self) -> int | str:
        """Give what a resumed run must share: S, or the pairs as text."""
        if len(self._pairs) == 1 and self.frozen_after is None:
            return self._pairs[0][1]
        pairs: list[Any] = [list(pair) for pair in self._pairs]
        if self.frozen_after is not None:
            pairs.append([self.frozen_after, None])
        return str(pairs)
