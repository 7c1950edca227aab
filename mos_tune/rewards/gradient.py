# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""How far a training step on a dataset would also lower the held-out losses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError
from mos_tune.rewards.backward import dot, loss_gradient, own_part, trainable
from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import at_least_float32
from mos_tune.rewards.probes import Probes


class _AlongHeldOut(Reward):
    """Each dataset's training gradient times a weighted sum of held-out gradients.

    A subclass says what a gradient is divided by: of the sum of the held-out gradients no more than
    that is needed, so that no two gradients are ever held together.
    """

    needs_gradients = True

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the products, shape ``[N]``."""
        assert probes.held_out is not None
        weights = probes.objective or dict.fromkeys(probes.held_out.names, 1.0)
        if self.specialist is not None:
            weights = {self.names[self.specialist]: 1.0}
        direction: list[Tensor] = []
        for name, weight in weights.items():
            gradient, losses = loss_gradient(model, probes.held_out.only(name))
            divisor = float(self._divisor(gradient, losses, probes))
            # A minibatch without any response points nowhere.
            scale = weight / divisor if divisor != 0 else 0.0
            if not direction:
                direction = [at_least_float32(part).mul_(scale) for part in gradient]
            else:
                for summed, part in zip(direction, gradient, strict=True):
                    summed.add_(part, alpha=scale)
            del gradient
        self._adapt(direction, model, probes)
        products = []
        for name in self.names:
            gradient, losses = loss_gradient(model, probes.only(name))
            product = dot(gradient, direction, probes) / sum(weights.values())
            products.append(product / self._divisor(gradient, losses, probes))
            del gradient
        return torch.stack(products).cpu()

    def _divisor(self, gradient: list[Tensor], losses: Tensor, probes: Probes) -> Tensor:
        raise NotImplementedError

    def _adapt(self, direction: list[Tensor], model: nn.Module, probes: Probes) -> None:
        """Change the sum of the held-out gradients in place; here nothing."""


class GradientReward(_AlongHeldOut):
    r"""Mean cosine between a dataset's training gradient and every held-out gradient: MultiDDS.

    ``R(i) = (1/N) * sum_n cos(grad J(H_n), grad J(D_i))`` where ``D_i`` and ``H_n`` are minibatches
    of ``batch_size`` training and held-out examples over all ranks, ``J`` is the mean loss per
    response token and ``grad`` goes over all trainable parameters: adapters only, with LoRA. One
    training and one held-out minibatch of each dataset are drawn afresh at every update. With an
    objective, the mean over n has its weights. With a specialist s, ``R(i) = cos(grad J(H_s),
    grad J(D_i))``, in the manner of MoSpec.

    Measured in eval mode, as in MultiUAT's code of it: dropout would make the same minibatch give
    another gradient every time. (That code draws a training minibatch for every held-out one; here
    one serves them all.) ``.grad`` and the optimizer are left alone; ``optimizer_in_bwd`` is
    refused, because every backward pass would then be an optimizer step.

    Cost of an update: 2 N forward and backward passes over ``batch_size`` examples. Gradients stay
    sharded. Memory: as in a training step on a micro-batch of the same examples (without activation
    checkpointing, with transformers: its models leave that out in eval mode), and beside it one
    float32 vector of the trainable parameters: 4 bytes each, divided by the number of ranks. The
    optimizer's step, with its own temporary memory, is over by then.

    Args are those of :class:`~mos_tune.rewards.Reward`. Range: -1 to 1, clamped at 0; no unit.

    Source: MultiDDS; Wang, Tsvetkov, Neubig: Balancing Training for Multilingual Neural Machine
    Translation, ACL 2020, arXiv 2004.06748. Used as a baseline in Mixture-of-Skills.
    """

    needs_held_out = True

    def _divisor(self, gradient: list[Tensor], losses: Tensor, probes: Probes) -> Tensor:
        return dot(gradient, gradient, probes).sqrt()


class HeldOutGainReward(_AlongHeldOut):
    r"""Drop of the objective that a step on a dataset promises, per unit of learning rate.

    ``R(i) = <grad J(D_i), G>`` with ``G = sum_n w_n grad J(H_n)``, minibatches and ``J`` as in
    :class:`GradientReward`, and the objective's weights w, with sum 1. To first order, a plain
    gradient step of learning rate lr on dataset i alone lowers the objective by ``lr * R(i)``, and
    one on a mixture by the mean of that over its response tokens. Where all gains are equal no
    other mixture promises more. MultiDDS is the cosine of the same vectors, which forgets how far a
    draw moves: a dataset that the model knows by heart has a small gradient, one without pattern a
    large one that does not point along G.

    With ``preconditioned`` it is ``<grad J(D_i), G / (sqrt(v) + eps)>`` with the second moments
    (bias-corrected) and the eps that Adam has now: the gain of the step that Adam takes, but for
    its decay and for what it remembers.

    Without held-out sets a training minibatch serves as both: its examples by turns as ``D_i`` and
    ``H_i``, disjoint. This is said once. The gain is then that on other training examples of the
    dataset, and one that the model has learned by heart still looks useful where its held-out
    examples would say otherwise, or a little so if both are small.

    Measured in eval mode; ``.grad``, weights and the optimizer are left alone.

    Cost of an update: forward and backward passes over ``batch_size`` (L) training examples of each
    dataset and as many held-out ones of each set in the objective: ``2 N L / (S B)`` of the
    training's passes with S steps of B examples between updates, 8 % with N = 4, L = B = 64, S =
    100; half of it without held-out sets. Memory: as for :class:`GradientReward`, one float32
    vector of the trainable parameters, sharded.

    Args:
        names (Sequence[str]): the datasets' names.
        preconditioned (bool): take Adam's second moments into account. Default False: the plain
            gain needs nothing of the optimizer.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`.
        smoothing (float): as there.
        specialist (str | None): the one set whose held-out loss is to fall, in place of the
            objective. Default None.

    Range: any sign, not clamped; nats per response token, per unit of learning rate.

    Raises:
        UserError: if an option is out of its range, the optimizer is not Adam and should be, or two
            halves are needed of a single example.

    Source: the gradient products of DoGE (Fan, Pagliardini, Jaggi, ICML 2024, arXiv 2310.15393) and
    its online form DGA (Fan, Grangier, Ablin, arXiv 2410.02498); preconditioned as in LESS.
    """

    signed = True
    uses_held_out = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        preconditioned: bool = False,
        batch_size: int = 64,
        smoothing: float = 0.9,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        if not isinstance(preconditioned, bool):
            raise UserError(f"reward.preconditioned must be True or False, got {preconditioned!r}")
        self._preconditioned = preconditioned
        self._has_told = False

    def prepare(self, model: nn.Module, probes: Probes) -> None:
        """Check before step 1 that the optimizer is one whose second moments are known."""
        if self._preconditioned:
            _adam(probes)

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the gains, shape ``[N]``."""
        if probes.held_out is None:
            probes = self._halved(probes)
        return super().measure(model, probes)

    def _divisor(self, gradient: list[Tensor], losses: Tensor, probes: Probes) -> Tensor:
        # Gradients come divided by the number of ranks.
        return losses[:, 1].sum().to(probes.device) / probes.world_size

    def _adapt(self, direction: list[Tensor], model: nn.Module, probes: Probes) -> None:
        if not self._preconditioned:
            return
        optimizer = _adam(probes)
        groups = {part: group for group in optimizer.param_groups for part in group["params"]}
        for parameter, part in zip(trainable(model), direction, strict=True):
            state = optimizer.state.get(parameter)
            if not state:  # it has had no gradient yet, so that Adam has not moved it
                part.zero_()
                continue
            group = groups[parameter]
            moment = own_part(state.get("max_exp_avg_sq", state["exp_avg_sq"]), probes)
            correction = 1 - group["betas"][1] ** float(state["step"])
            part.div_((moment.to(part.dtype) / correction).sqrt_().add_(group["eps"]))

    def _halved(self, probes: Probes) -> Probes:
        for name, indices in probes.indices.items():
            if len(indices) < 2:
                raise UserError(
                    "reward: without held-out sets a training minibatch is cut in two, but that of "
                    f"dataset.{name} has {len(indices)} example; give validation"
                )
        if not self._has_told:
            self._has_told = True
            log_rank_zero(
                "There are no held-out sets: the gain reward is measured between two halves of "
                "every training minibatch, and what a dataset does for new examples is not seen"
            )
        first, second = (
            {name: list(indices[start::2]) for name, indices in probes.indices.items()}
            for start in (0, 1)
        )
        return replace(probes, indices=first, held_out=replace(probes, indices=second))

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards, and what they measure."""
        return super().state_dict() | {"preconditioned": self._preconditioned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: if it was measured on another scale.
        """
        if state["preconditioned"] != self._preconditioned:
            raise ValueError(
                f"preconditioned is {self._preconditioned}, the checkpoint has "
                f"{state['preconditioned']}"
            )
        super().load_state_dict(state)


def _adam(probes: Probes) -> torch.optim.Adam | torch.optim.AdamW:
    optimizer = None if probes.progress is None else probes.progress.optimizer
    if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        raise UserError(
            "reward.preconditioned is True, which takes the second moments of torch.optim.Adam or "
            f"AdamW, but the optimizer is {type(optimizer).__name__}; use False"
        )
    return optimizer
