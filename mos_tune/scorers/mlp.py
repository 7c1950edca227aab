# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The policy over datasets and its update (Eq. 6, Alg. 1)."""

from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.scorers.numerics import log_prior, one_row
from mos_tune.scorers.schedule import UpdateEvery, UpdateSchedule


class MLPScorer(nn.Module):
    r"""A 2-layer perceptron from available datasets to probabilities, ``p = softmax(f(a))``.

    It starts exactly at the prior: the second layer's weights start at 0 and its bias at the
    prior's logarithm. All of it runs on the CPU in float64.

    An update follows the gradient of ``sum_i R(i) log p(i)``, over all available datasets, without
    a sampled action, a weight p(i) or a baseline (Eq. 6). Its fixed point is ``p* = R / sum(R)``.

    Its faults are those of 200 steps of Adam on a perceptron, and stay, so that runs of the paper
    stay what they were. One outlier of 150 among rewards of 1 holds p above 0.28 for seven updates
    more, since Adam's second moments remember it, and rewards below about 1e-10 do nothing, for
    they are less than Adam's epsilon. f sees which datasets are available, so when one is
    exhausted the others' ratios jump, part of the way back to the prior, until the next update
    (``hidden_dim=None`` keeps them). An update is ``inner_steps`` steps over
    ``2 * N * hidden_dim + N + hidden_dim`` numbers: 0.5M, or about 2 s, with 1,000 datasets.
    :class:`~mos_tune.scorers.FixedPointScorer` has p* in closed form, and none of this.

    Args:
        prior (Tensor): float64 probabilities to start from, shape ``[N]``.
        seed (int): seed of the first layer's initial weights.
        update_every (UpdateEvery): S, optimizer steps between two updates, or a schedule
            (:class:`~mos_tune.scorers.UpdateSchedule`). Default 100, as in the paper.
        lr (float): gamma, the scorer's learning rate. Default 1e-4, as in the paper.
        hidden_dim (int | None): width of the perceptron; None has N free logits instead. Default
            256, the narrowest of those tried that follows at once: one default update leaves less
            than 0.1 % of the way to p* for N = 4, 20 and 100, while width 64 leaves up to 24 %,
            width 16 up to 71 % and free logits up to 96 %. Width 1024 comes no nearer and, at
            this lr, circles p* at a larger distance.
        inner_steps (int): optimizer steps on the same rewards per update. Default 200, as in the
            authors' code. 1 with ``optimizer="sgd"`` is Alg. 1 to the letter, and leaves 78 to
            92 % of the way after 48 updates.
        optimizer (str): ``"adam"`` or ``"sgd"``; Adam's moments are kept between updates. Default
            ``"adam"``: its step does not shrink with the scale of the rewards.

    Raises:
        UserError: if an option is out of its range.

    Source: Mixture-of-Skills, section 3 and Alg. 1. The figures above are printed by
    ``benchmarks/scorer_tracking.py``.

    Example:
        >>> scorer = MLPScorer(torch.tensor([0.5, 0.5], dtype=torch.float64))
        >>> scorer.probabilities().tolist()
        [0.5, 0.5]
    """

    def __init__(
        self,
        prior: Tensor,
        *,
        seed: int = 0,
        update_every: UpdateEvery = 100,
        lr: float = 1e-4,
        hidden_dim: int | None = 256,
        inner_steps: int = 200,
        optimizer: str = "adam",
    ) -> None:
        super().__init__()
        UpdateSchedule(update_every)
        check_whole("scorer.inner_steps", inner_steps)
        if hidden_dim is not None:
            check_whole("scorer.hidden_dim", hidden_dim)
        if not is_number(lr) or lr <= 0:
            raise UserError(f"scorer.lr must be a finite number above 0, got {lr!r}")
        if optimizer not in ("adam", "sgd"):
            raise UserError(f"scorer.optimizer must be 'adam' or 'sgd', got {optimizer!r}")
        self.update_every = update_every
        self._inner_steps = inner_steps
        self.bias = nn.Parameter(log_prior(prior))
        self.hidden: nn.Linear | None = None
        if hidden_dim is not None:
            generator = torch.Generator().manual_seed(seed)
            count = len(prior)
            self.hidden = nn.Linear(count, hidden_dim, dtype=torch.float64)
            self.weight = nn.Parameter(torch.zeros(count, hidden_dim, dtype=torch.float64))
            nn.init.uniform_(self.hidden.weight, -(count**-0.5), count**-0.5, generator=generator)
            nn.init.zeros_(self.hidden.bias)
        kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        self._optimizer = kind(self.parameters(), lr=lr)

    def forward(self, available: Tensor) -> Tensor:
        """Give ``log p`` with shape ``[N]``, -inf where ``available`` (bool, ``[N]``) is False."""
        logits: Tensor = self.bias
        if self.hidden is not None:
            logits = logits + self.weight @ torch.tanh(self.hidden(available.double()))
        return torch.log_softmax(logits.masked_fill(~available, -torch.inf), dim=0)

    @torch.no_grad()
    def probabilities(self, available: Tensor | None = None) -> Tensor:
        """Give the current mixture.

        Args:
            available (Tensor | None): bool mask of the datasets that may be drawn, shape ``[N]``.
                None, the default, means all.

        Returns:
            Tensor: float64 probabilities, shape ``[N]``; exactly 0 for an unavailable dataset.
        """
        return self(self._mask(available)).exp()

    def learn(self, rewards: Tensor, available: Tensor | None = None) -> None:
        """Move the policy towards ``rewards / sum(rewards)``.

        Args:
            rewards (Tensor): non-negative reward of each dataset, shape ``[N]``.
            available (Tensor | None): as in :meth:`probabilities`.

        Raises:
            UserError: if a reward of an available dataset is negative, or there are several.
            ValueError: if one is not finite.
        """
        mask = self._mask(available)
        targets = one_row(rewards, "MLPScorer")[mask]
        if (targets < 0).any():
            raise UserError(
                f"MLPScorer learns from rewards that are not negative, got {rewards.tolist()}; "
                "MirrorScorer takes signed ones"
            )
        for _ in range(self._inner_steps):
            self._optimizer.zero_grad()
            loss = -(targets * self(mask)[mask]).sum()
            loss.backward()
            self._optimizer.step()

    def _mask(self, available: Tensor | None) -> Tensor:
        if available is None:
            return torch.ones(len(self.bias), dtype=torch.bool)
        if not available.any():
            raise ValueError("no dataset is available; at least one must be")
        return available

    def get_extra_state(self) -> dict[str, Any]:
        """Put the optimizer's state into :meth:`state_dict`, beside psi."""
        return {"optimizer": type(self._optimizer).__name__, "state": self._optimizer.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the optimizer's state in :meth:`load_state_dict`; the learning rate stays.

        Raises:
            UserError: if the state is another optimizer's.
        """
        kind = type(self._optimizer).__name__
        if state["optimizer"] != kind:
            raise UserError(f"scorer.optimizer is {kind}, the checkpoint has {state['optimizer']}")
        lr = self._optimizer.param_groups[0]["lr"]
        self._optimizer.load_state_dict(state["state"])
        self._optimizer.param_groups[0]["lr"] = lr
