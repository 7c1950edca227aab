# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""``sampler.weights`` made numbers: those of an earlier run, or UniMax's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.components import is_off
from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError
from mos_tune.metrics.curves import MEAN, read_curves
from mos_tune.mixture import unimax

_WHICH = ("average", "final", "best")


def with_numbers(
    cfg: DictConfig,
    sizes: Mapping[str, int],
    budget: int,
    lengths: Mapping[str, Mapping[str, float]],
) -> DictConfig:
    """Give the config's ``sampler`` with numbers in the place of files and rules.

    Args:
        cfg (DictConfig): the run's config, checked.
        sizes (Mapping[str, int]): number of training sequences of each dataset.
        budget (int): sequences that the run draws.
        lengths (Mapping[str, Mapping[str, float]]): a sequence's mean length in each other unit, by
            dataset.

    Raises:
        UserError: if a file cannot be used, options contradict each other, or weights that change
            from step to step are to be learned.
    """
    section: dict[str, Any] = dict(cfg.sampler)
    weights = section.get("weights")
    if "unimax" not in str(weights) and "unimax_epochs" in section:
        raise UserError(
            f"sampler.unimax_epochs is {section['unimax_epochs']}, but sampler.weights is "
            f"{weights} and not unimax"
        )
    if weights is None:
        return cfg.sampler
    epochs = section.pop("unimax_epochs", 4)
    unit = section.get("unit", "sequences")

    def numbers(one: Any) -> Any:
        if not isinstance(one, str):
            return one
        found: Mapping[str, float]
        if one == "unimax":
            found = _unimax(sizes, budget, epochs, lengths.get(unit))
        else:
            found = _of_run(one, sizes, unit)
        total = sum(found.values())
        shares = ", ".join(f"{name} {weight / total:.4f}" for name, weight in found.items())
        log_rank_zero(f"sampler.weights {one}: {shares}")
        return found

    if OmegaConf.is_list(weights):
        if not is_off(cfg.get("scorer")):
            raise UserError(
                "sampler.weights changes from step to step, but scorer is not null; what is "
                "learned starts from one mixture"
            )
        section["weights"] = [
            [numbers(part) for part in pair] if isinstance(pair, Sequence) else pair
            for pair in weights
        ]
    else:
        section["weights"] = numbers(weights)
    if "temperature" in section:
        log_rank_zero(
            f"sampler.weights gives the prior; sampler.temperature {section['temperature']} is "
            "not used"
        )
    return OmegaConf.create(section)


def _unimax(
    sizes: Mapping[str, int], budget: int, epochs: float, lengths: Mapping[str, float] | None
) -> dict[str, float]:
    draws = unimax(sizes, budget=budget, epochs=epochs, lengths=lengths)
    total = sum(sizes.values())
    if epochs * total < budget:
        log_rank_zero(
            f"sampler.weights unimax: {epochs:g} passes over all datasets are "
            f"{epochs * total:,g} sequences, fewer than the run's {budget:,}; the mixture is by "
            f"size, and each dataset is passed over {budget / total:.3g} times"
        )
    return draws


def _of_run(reference: str, sizes: Mapping[str, int], unit: str) -> Mapping[str, float]:
    path, _, which = reference.rpartition("@")
    if which not in _WHICH:
        path, which = reference, "average"
    try:
        run = read_curves(Path(path))
    except UserError as error:
        raise UserError(f"sampler.weights {reference}: {error}") from error
    if set(run.names) != set(sizes):
        raise UserError(
            f"sampler.weights {reference} is of a run on {', '.join(run.names)}; the datasets here "
            f"are {', '.join(sizes)}"
        )
    if run.share_of != unit:
        raise UserError(
            f"sampler.weights {reference} is of a run with sampler.unit {run.share_of}; here it is "
            f"{unit}"
        )
    if which == "final":
        return run.probabilities[-1][1]
    if which == "best":
        if not run.losses:
            raise UserError(f"sampler.weights {reference}: that run has no held-out losses")
        best, _ = min(run.losses, key=lambda one: one[1].get(MEAN, sum(one[1].values())))
        return [mixture for step, mixture in run.probabilities if step <= best][-1]
    if run.average_probabilities is None:
        raise UserError(
            f"sampler.weights {reference}: that run has not come to its end, step "
            f"{run.last_step} is its last; {path}@final is its last mixture"
        )
    return run.average_probabilities
