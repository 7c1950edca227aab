# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What every reward has: probe size, clamp at 0, learning trajectory (Eq. 11), specialist."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mos_tune.distributed import gather
from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.rewards.probes import Probes

ROUNDING = 1e-6
"""How far ranks may differ in a reward, as a share of the largest: by rounding, in float32 too."""


class Reward(ABC):
    """One number per dataset from the model and fresh training examples of every dataset.

    A subclass gives :meth:`measure`. Measured rewards are clamped at 0, since a negative one would
    drive its dataset's probability to 0 without bound, and then smoothed over the updates:
    ``R <- beta * R_new + (1 - beta) * R_previous`` (Eq. 11), where the first update has no
    previous. A signed reward is smoothed as it is: an estimate that is clamped first is biased
    upwards by its noise.

    Args:
        names (Sequence[str]): the datasets' names.
        batch_size (int): L, probe examples per dataset and update, over all ranks. Default 64, as
            in the paper. A smaller dataset gives all its examples.
        smoothing (float): beta, the weight of the NEW reward. Default 0.9, as in the paper; 1.0
            switches smoothing off.
        specialist (str | None): name of the dataset to specialise on (MoSpec). Default None.

    Raises:
        UserError: if an option is out of its range, the specialist is not a dataset, or the reward
            has no form for one.

    Attributes:
        signed (ClassVar[bool]): may be negative, and is not clamped. A scorer that does not say
            ``signed = True`` of itself gets it clamped at 0 after smoothing. Default False.
        columns (ClassVar[tuple[str, ...]]): names of the numbers that it gives of each dataset,
            where these are several. Default: one number without a name.
        specialises (ClassVar[bool]): has a form for a specialist. Default True.
        needs_held_out (ClassVar[bool]): measures on held-out examples, which the recipe then
            demands from the config, and gives as ``probes.held_out``. Default False.
        uses_held_out (ClassVar[bool]): measures on held-out examples where the config has any.
            Default False.
        needs_gradients (ClassVar[bool]): makes backward passes of its own, which the recipe then
            keeps apart from ``optimizer_in_bwd``. Default False.
    """

    signed: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ()
    specialises: ClassVar[bool] = True
    needs_held_out: ClassVar[bool] = False
    uses_held_out: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    def __init__(
        self,
        names: Sequence[str],
        *,
        batch_size: int = 64,
        smoothing: float = 0.9,
        specialist: str | None = None,
    ) -> None:
        check_whole("reward.batch_size", batch_size)
        if not is_number(smoothing) or not 0 < smoothing <= 1:
            raise UserError(
                f"reward.smoothing must lie above 0 and at most at 1, got {smoothing!r}"
            )
        if specialist is not None and specialist not in names:
            raise UserError(
                f"reward.specialist is {specialist!r}, which is no dataset; the datasets are "
                f"{', '.join(names)}"
            )
        if specialist is not None and not self.specialises:
            raise UserError(
                f"reward.specialist is {specialist!r}, but {type(self).__name__} has no form for a "
                "specialist; it must be null"
            )
        self.names = list(names)
        self.batch_size = batch_size
        self.specialist = None if specialist is None else self.names.index(specialist)
        self._smoothing = float(smoothing)
        self._smoothed: Tensor | None = None

    @abstractmethod
    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Measure the rewards of one update.

        Args:
            model (nn.Module): the model as it is now, in eval mode, without gradient.
            probes (Probes): this update's examples; ``probes.mean(fn)`` averages over them.

        Returns:
            Tensor: rewards on the CPU, equal on every rank but for rounding, shape ``[N]``; with
                several ``columns`` ``[N, m]``.
        """

    # Empty and not abstract (B027 asks for one of the two): most rewards need nothing of theta_0.
    def prepare(self, model: nn.Module, probes: Probes) -> None:  # noqa: B027
        """Do what needs the untouched model, before step 1.

        Args:
            model (nn.Module): theta_0, in eval mode, without gradient.
            probes (Probes): the examples of all updates to come.
        """

    def smooth(self, measured: Tensor) -> Tensor:
        """Clamp what :meth:`measure` gave at 0 unless signed, and smooth it over the updates.

        Args:
            measured (Tensor): this update's rewards, shape ``[N]`` or ``[N, m]``; rank 0's count.

        Returns:
            Tensor: float64 rewards that the scorer learns from, of that shape.

        Raises:
            UserError: if a reward is not finite, or another one on another rank.
        """
        measured = measured.double()
        for name, values in zip(self.names, measured, strict=True):
            for value in values.flatten().tolist():
                if not math.isfinite(value):
                    raise UserError(
                        f"the reward of dataset.{name} is {value}; training stops so that the "
                        "mixture is not spoilt. Has its loss diverged, or do its examples lack "
                        "response tokens?"
                    )
        measured = self._of_rank_zero(measured)
        new = measured if self.signed else measured.clamp_min(0)
        if self._smoothed is None:
            self._smoothed = new
        else:
            self._smoothed = self._smoothing * new + (1 - self._smoothing) * self._smoothed
        return self._smoothed

    def _of_rank_zero(self, measured: Tensor) -> Tensor:
        first, *others = gather(measured)
        for rank, other in enumerate(others, start=1):
            # Each column against its own largest: they need not have one unit.
            columns = [one.reshape(len(first), -1).unbind(dim=1) for one in (first, other)]
            for mine, its in zip(*columns, strict=True):
                difference = (its - mine).abs()
                if difference.max() > ROUNDING * mine.abs().max():
                    worst = int(difference.argmax())
                    raise UserError(
                        f"the reward of dataset.{self.names[worst]} is {float(its[worst])} on rank "
                        f"{rank} and {float(mine[worst])} on rank 0; it must be measured over the "
                        "examples of all ranks, as probes.mean does. Are all ranks on the same "
                        "data?"
                    )
        return first

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards."""
        return {"smoothed": self._smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._smoothed = state["smoothed"]
