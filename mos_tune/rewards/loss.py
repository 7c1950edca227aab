# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""Rewards that are a loss: what is left of it above a reference, or all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError, is_number
from mos_tune.metrics.curves import read_curves
from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import response_log_likelihood
from mos_tune.rewards.probes import ProbeBatch, Probes


class ExcessLossReward(Reward):
    r"""Held-out loss above a reference: what an earlier run has shown can still be learned.

    ``R(i) = max(L_i - Lref_i, 0)`` with ``L_i`` the mean loss per response token of a minibatch of
    ``batch_size`` held-out examples. With the losses of a good run as reference, a dataset that
    cannot be learned is left alone as soon as the model is as good on it as that run was; raw loss
    would draw it for ever. With a mirror scorer it is the rule of DoReMi and Sheared LLaMA; DoReMi
    clamps every token's excess, its reference is a model, and its losses are of training batches.

    A reference from a run on another mixture is not the least loss that there is, nor is one from
    other held-out examples, another tokenizer or template on the same scale: the file does not
    tell, so that is yours to know.

    Cost of an update: N forward passes over ``batch_size`` (L) examples, without gradient: ``N L /
    (3 S B)`` of the training's passes with S steps of B examples between updates, 1.3 % with N = 4,
    L = B = 64, S = 100. Memory: one chunk of logits; no second model.

    Args:
        names (Sequence[str]): the datasets' names.
        reference (str | Mapping[str, float]): an earlier run's ``mixture.jsonl``, of which each
            dataset's least held-out loss counts; or a loss in nats per response token for each
            dataset, such as a target.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`, but of held-out examples; there
            are at most ``validation.max_examples`` of them.
        smoothing (float): as there.
        specialist (str | None): must be None, for there is no form for one.

    Range: 0 or more; nats per response token.

    Raises:
        UserError: if an option is out of its range, the file cannot be read, or it lacks a dataset
            or has another.

    Source: DoReMi (Xie et al., NeurIPS 2023, arXiv 2305.10429); Sheared LLaMA (Xia et al., ICLR
    2024, arXiv 2310.06694).
    """

    needs_held_out = True
    specialises = False

    def __init__(
        self,
        names: Sequence[str],
        *,
        reference: str | Mapping[str, float],
        batch_size: int = 64,
        smoothing: float = 0.9,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        losses, where = _reference(reference)
        for name in names:
            if name not in losses:
                raise UserError(
                    f"{where} has no loss of dataset.{name}; it has those of {', '.join(losses)}"
                )
        for name, loss in losses.items():
            if name not in names:
                raise UserError(
                    f"{where} has a loss of {name}, which is no dataset; the datasets are "
                    f"{', '.join(names)}"
                )
            if not is_number(loss):
                raise UserError(f"reward.reference.{name} must be a number, got {loss!r}")
        self._reference = {name: float(losses[name]) for name in names}

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the excess losses, shape ``[N]``; below 0 where the reference is passed."""
        assert probes.held_out is not None
        losses = mean_losses(model, probes.held_out.only(*self.names))
        return losses - torch.tensor(list(self._reference.values()), dtype=torch.float64)

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards, and above what they are."""
        return super().state_dict() | {"reference": self._reference}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is above another reference.
        """
        if state["reference"] != self._reference:
            raise ValueError(f"reference is {self._reference}, the checkpoint {state['reference']}")
        super().load_state_dict(state)


class TrainingLossReward(Reward):
    r"""Loss on fresh training examples, in the two forms of Online Data Mixing.

    With ``L_i`` the mean loss per response token of a minibatch of ``batch_size`` training examples
    of dataset i:

    - ``form: importance_weighted``: ``R(i) = L_i / p_i`` with the probability that it is drawn with
      now, as in the paper; 0 for a dataset that is exhausted. For an exponential scorer. A rare
      dataset has a large reward for its rarity alone, which draws the mixture towards uniform;
    - ``form: perplexity``: ``R(i) = exp(L_i)``, as the published code computes for "the paper's
      method". For a scorer with ``p`` proportional to ``R``: Difficulty without its reference, so
      that a dataset whose responses are hard to predict counts more for ever.

    ODM measures on the batches that are drawn, which is free but sees one dataset at a time; here
    every dataset has a minibatch of its own.

    Cost of an update: N forward passes over ``batch_size`` (L) examples, without gradient: ``N L /
    (3 S B)`` of the training's passes with S steps of B examples between updates, 1.3 % with N = 4,
    L = B = 64, S = 100. Memory: one chunk of logits.

    Args:
        names (Sequence[str]): the datasets' names.
        form (str): one of those above. Default ``importance_weighted``, the paper's.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`.
        smoothing (float): as there, but 0.1: paper and code give the OLD value 0.9.
        specialist (str | None): must be None, for there is no form for one.

    Range: above 0; nats per response token, or their exponential, which has no unit.

    Raises:
        UserError: if an option is out of its range.

    Source: Online Data Mixing (Albalak et al., arXiv 2312.02406).
    """

    specialises = False

    def __init__(
        self,
        names: Sequence[str],
        *,
        form: str = "importance_weighted",
        batch_size: int = 64,
        smoothing: float = 0.1,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        if form not in ("importance_weighted", "perplexity"):
            raise UserError(f"reward.form must be importance_weighted or perplexity, got {form!r}")
        self._form = form

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the losses in their form, shape ``[N]``."""
        losses = mean_losses(model, probes)
        if self._form == "perplexity":
            return losses.exp()
        if probes.progress is None:
            raise UserError("reward.form is importance_weighted, but nobody tells the mixture")
        probabilities = probes.progress.probabilities
        return (losses / probabilities).where(probabilities > 0, losses.new_zeros(()))

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards, and their form."""
        return super().state_dict() | {"form": self._form}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is in another form, on another scale.
        """
        if state["form"] != self._form:
            raise ValueError(f"form is {self._form}, the checkpoint has {state['form']}")
        super().load_state_dict(state)


def mean_losses(model: nn.Module, probes: Probes) -> Tensor:
    """Compute the mean loss per response token of each dataset's examples.

    Args:
        model (nn.Module): the model as it is now, in eval mode, without gradient.
        probes (Probes): the examples.

    Returns:
        Tensor: float64 losses in nats per response token, shape ``[N]``.
    """

    def loss_and_count(batch: ProbeBatch) -> Tensor:
        total, count = response_log_likelihood(model, batch.tokens, batch.labels)
        return torch.stack([-total, count], dim=1)

    loss, count = probes.sum(loss_and_count).unbind(dim=1)
    return loss / count


def _reference(reference: Any) -> tuple[Mapping[str, Any], str]:
    """Give losses by dataset, and what to call them in a message."""
    if isinstance(reference, Mapping):
        return reference, "reward.reference"
    if not isinstance(reference, str):
        raise UserError(
            "reward.reference must be a mixture.jsonl, or a loss for each dataset, got "
            f"{reference!r}"
        )
    try:
        run = read_curves(Path(reference))
    except UserError as error:
        raise UserError(f"reward.reference: {error}") from error
    if not run.losses:
        raise UserError(f"reward.reference {reference} has no held-out losses")
    # Held-out sets that it did not train on are left out.
    best = {
        name: min(losses[name] for _, losses in run.losses)
        for name in run.names
        if name in run.losses[-1][1]
    }
    return best, f"reward.reference {reference}"
