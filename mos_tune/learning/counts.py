# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a run has drawn so far, in every unit that a share can be in."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mos_tune.mixture import MixtureSampler, Sequences


class Counts:
    """Count draws, examples, tokens and response tokens; the same on every rank.

    A probability is a share of draws, and a draw takes one sequence: an example or a pack. The loss
    is a mean over response tokens, so neither is a dataset's share of the gradient.

    Args:
        sampler (MixtureSampler): counts the draws.
        sequences (Mapping[str, Sequences]): what is drawn, by dataset name.
    """

    def __init__(self, sampler: MixtureSampler, sequences: Mapping[str, Sequences]) -> None:
        self._sampler = sampler
        self._sequences = sequences
        self._examples_and_tokens = torch.zeros(len(sampler.names), 2, dtype=torch.int64)
        self._response_tokens = torch.zeros_like(sampler.prior)
        self._probability_sum = torch.zeros_like(sampler.prior)

    def add_step(
        self, sequences: list[tuple[int, int]], probabilities: Tensor
    ) -> list[tuple[str, int]]:
        """Count a global batch: dataset number and position of every sequence.

        Returns:
            list[tuple[str, int]]: name of the dataset and index in it of every example, in order.
        """
        self._probability_sum += probabilities
        examples: list[tuple[str, int]] = []
        for dataset, position in sequences:
            name = self._sampler.names[dataset]
            indices, tokens = self._sequences[name].contents(position)
            self._examples_and_tokens[dataset] += torch.tensor([len(indices), tokens])
            examples += [(name, index) for index in indices]
        return examples

    def add_response_tokens(self, counts: Tensor) -> None:
        """Count a step's response tokens, shape ``[N]``."""
        self._response_tokens += counts

    def average_probabilities(self, steps: int) -> Tensor:
        """Give the mean of the mixture over so many steps, shape ``[N]``."""
        return self._probability_sum / max(1, steps)

    def by_unit(self) -> dict[str, dict[str, Any]]:
        """Give the counts by unit and dataset name, and the passes over each dataset."""
        examples, tokens = self._examples_and_tokens.unbind(dim=1)
        units = {"examples": examples, "tokens": tokens, "response_tokens": self._response_tokens}
        return {
            "draws": self._sampler.draws,
            **{
                unit: dict(zip(self._sampler.names, map(int, count.tolist()), strict=True))
                for unit, count in units.items()
            },
            "epochs": self._sampler.epochs,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Give what is not in the sampler's state."""
        return {
            "examples_and_tokens": self._examples_and_tokens,
            "response_tokens": self._response_tokens,
            "probability_sum": self._probability_sum,
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume where ``state`` was taken."""
        self._examples_and_tokens = state["examples_and_tokens"]
        self._response_tokens = state["response_tokens"]
        self._probability_sum = state["probability_sum"]
