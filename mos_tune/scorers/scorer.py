# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the recipes ask of any scorer."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Scorer(Protocol):
    """The policy over N datasets: rewards in, probabilities out.

    A recipe makes it with ``scorer(prior, seed=seed, **options)``: the sampler's float64 prior of
    shape ``[N]``, the run's seed, and what else stands in the config's ``scorer`` section. Every
    rank has its own, on the CPU. Rank 0's alone is asked and updated, and the others load its
    state, as a run that resumes does; so all that it learns must be in its state. A
    ``torch.nn.Module`` that keeps it in parameters or buffers has the two state methods already.

    Attributes:
        update_every (UpdateEvery): S, optimizer steps between two updates, or a schedule
            (:class:`~mos_tune.scorers.UpdateSchedule`), which the one who asks keeps to.
    """

    update_every: Any

    def probabilities(self, available: Tensor) -> Tensor:
        """Give the current mixture.

        Args:
            available (Tensor): bool mask of the datasets that may be drawn, at least one,
                shape ``[N]``.

        Returns:
            Tensor: probabilities with sum 1, shape ``[N]``; 0 for an unavailable dataset.
        """

    def learn(self, rewards: Tensor, available: Tensor) -> None:
        """Learn from one measurement.

        Args:
            rewards (Tensor): smoothed reward of every dataset, also of those not available:
                float64, finite and not negative, shape ``[N]``. A scorer with an attribute ``signed
                = True`` gets those of a signed reward as they are, negative ones too; one with
                ``columns = 2`` takes also a reward that gives two numbers, shape ``[N, 2]``.
            available (Tensor): as in :meth:`probabilities`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint must hold: numbers, texts, CPU tensors, dicts and lists."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """Restore what :meth:`state_dict` gave."""
