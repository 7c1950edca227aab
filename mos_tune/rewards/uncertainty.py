# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MultiUAT: how uncertain the model is of held-out responses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.rewards.base import Reward
from mos_tune.rewards.dropout import monte_carlo_dropout
from mos_tune.rewards.forward import each_response_token, sum_by_row
from mos_tune.rewards.probes import ProbeBatch, Probes


def _response_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.log_softmax(dim=1).gather(1, targets[:, None])[:, 0].exp()


def _largest_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.log_softmax(dim=1).amax(dim=1).exp()


def _entropy(logits: Tensor, targets: Tensor) -> Tensor:
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


# Per measure: of the logits of a token in one pass, and of the passes' values [K, t].
_MEASURES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "expected_probability": (_response_probability, lambda values: 1 - values.mean(dim=0)),
    "predicted_probability": (_largest_probability, lambda values: 1 - values.mean(dim=0)),
    "variance": (_response_probability, lambda values: values.var(dim=0, correction=0)),
    "entropy": (_entropy, lambda values: values.mean(dim=0)),
}


class UncertaintyReward(Reward):
    r"""Uncertainty of the model about held-out responses, by Monte-Carlo dropout.

    The model sees each held-out example K times, with other dropout masks each time, and gives
    ``p_k(v) = p(v | x, y_<t; theta_k)`` at every response token ``y_t``. Measures of a token:

    - ``expected_probability`` (ExpTP): ``1 - (1/K) sum_k p_k(y_t)``, of the response's own token;
    - ``predicted_probability``: ``1 - (1/K) sum_k max_v p_k(v)``, of the model's own choice;
    - ``variance`` (VarTP): ``(1/K) sum_k p_k(y_t)^2 - ((1/K) sum_k p_k(y_t))^2``;
    - ``entropy`` (EntTP): ``-(1/K) sum_k sum_v p_k(v) log p_k(v)``, in nats.

    ``R(i)`` is the mean over the held-out minibatch of dataset i of the mean over an example's
    response tokens; examples without one are left out. With a specialist, its reward is doubled, as
    MoSpec does with difficulty.

    The names in brackets are those of the authors' code. Of its other measures, PreTP is left out
    because the probability of a whole response, a product over its tokens, is 0 for all but the
    shortest; EntEOS, the entropy where the response ends, because a truncated response has no such
    place and a dialogue several; ComTP because it combines expectation and variance, and has no
    more to say than they. What that code computes differs from the above: its ExpTP is
    ``predicted_probability`` with a geometric mean over the tokens, its VarTP a variance over the
    tokens of a sentence and not over the passes, its EntTP a mean over all tokens of the minibatch.

    Dropout acts on the outputs of every attention and feed-forward module, and is there only while
    the reward is measured; dropout that the model has of its own is off meanwhile. The masks are a
    function of the run's seed, update, example and pass, so that neither ranks nor micro-batches
    matter, and on the device's type; the global random state stays as it is.

    Cost of an update: K N forward passes over ``batch_size`` examples, without gradient; never more
    than one chunk of logits.

    Args:
        names (Sequence[str]): the datasets' names.
        measure (str): one of those above. Default ``expected_probability``.
        passes (int): K. Default 10, as in the authors' code.
        dropout (float): probability that an element is dropped. Default 0.1, the Transformer's.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`, but of held-out examples;
            there are at most ``validation.max_examples`` of them.
        smoothing (float): as there.
        specialist (str | None): as there.

    Range: 0 to 1, the entropy 0 to the logarithm of the vocabulary's size.

    Raises:
        UserError: if an option is out of its range.

    Source: MultiUAT; Wu, Li, Zhang, Li, Haffari, Liu: Uncertainty-Aware Balancing for Multilingual
    and Multi-Domain Neural Machine Translation Training, EMNLP 2021, arXiv 2109.02284. Used as a
    baseline in Mixture-of-Skills.
    """

    needs_held_out = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        measure: str = "expected_probability",
        passes: int = 10,
        dropout: float = 0.1,
        batch_size: int = 64,
        smoothing: float = 0.9,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        if measure not in _MEASURES:
            options = ", ".join(_MEASURES)
            raise UserError(f"reward.measure must be one of {options}, got {measure!r}")
        check_whole("reward.passes", passes)
        if not is_number(dropout) or not 0 <= dropout < 1:
            raise UserError(f"reward.dropout must be at least 0 and below 1, got {dropout!r}")
        self._kind = measure
        self._passes = passes
        self._dropout = float(dropout)

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the uncertainties, shape ``[N]``."""
        assert probes.held_out is not None
        of_token, of_passes = _MEASURES[self._kind]
        with monte_carlo_dropout(model, self._dropout) as begin:

            def value_and_count(batch: ProbeBatch) -> Tensor:
                values = []
                for number in range(self._passes):
                    begin(batch, probes.seed, number)
                    value, rows = each_response_token(model, batch.tokens, batch.labels, of_token)
                    values.append(value)
                sums, counts = sum_by_row(of_passes(torch.stack(values)), rows, len(batch.tokens))
                return torch.stack([sums / counts.clamp_min(1), counts > 0], dim=1)

            held_out = probes.held_out.only(*self.names)
            total, count = held_out.sum(value_and_count).unbind(dim=1)
        uncertainties = total / count
        if self.specialist is not None:
            uncertainties[self.specialist] *= 2
        return uncertainties

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards, and what they measure."""
        return super().state_dict() | {"measure": self._kind}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is another measure's, on another scale.
        """
        if state["measure"] != self._kind:
            raise ValueError(f"measure is {self._kind}, the checkpoint has {state['measure']}")
        super().load_state_dict(state)
