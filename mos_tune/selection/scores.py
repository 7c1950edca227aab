# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Instruction-following difficulty (IFD): how little an instruction helps to predict its answer.

Measured here, and kept in a file that a killed run leaves whole.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from torchtune.modules import TransformerDecoder

from mos_tune.errors import UserError
from mos_tune.journal import Journal
from mos_tune.rewards import ProbeBatch, response_log_likelihood


def response_losses(model: TransformerDecoder, batch: ProbeBatch, prefix_id: int) -> Tensor:
    """Measure how well every response is predicted, with and without what comes before it.

    ``y`` are the tokens that training predicts: of a conversation those of all answers, with their
    end tokens. Without the instruction they follow a single token, so that the first of them is
    predicted in both cases and an answer of one token has a loss too.

    Args:
        model (TransformerDecoder): in eval mode, without gradient.
        batch (ProbeBatch): examples with at least one response token.
        prefix_id (int): the token that begins a text.

    Returns:
        Tensor: float64, shape ``[b, 2]``: the mean of ``-log p(y_k | x, y_<k)`` and of
        ``-log p(y_k | y_<k)`` over the response tokens, in nats.
    """
    targets = [row[row != CROSS_ENTROPY_IGNORE_IDX] for row in batch.labels[:, 1:]]
    tokens = pad_sequence(targets, batch_first=True, padding_value=prefix_id)
    labels = pad_sequence(targets, batch_first=True, padding_value=CROSS_ENTROPY_IGNORE_IDX)
    first = torch.full_like(labels[:, :1], prefix_id)
    ignored = torch.full_like(first, CROSS_ENTROPY_IGNORE_IDX)
    given, count = response_log_likelihood(model, batch.tokens, batch.labels)
    alone, _ = response_log_likelihood(
        model, torch.cat([first, tokens], dim=1), torch.cat([ignored, labels], dim=1)
    )
    return -torch.stack([given, alone], dim=1) / count[:, None]


def difficulty(loss: float, loss_alone: float) -> float:
    """Compute ``IFD = PPL(y | x) / PPL(y)``.

    Args:
        loss (float): of the response after the instruction, in nats per token.
        loss_alone (float): of the response alone.

    Returns:
        float: above 0; above 1 if the instruction makes the response harder to predict.

    Source: Li et al. 2023 (arXiv 2308.12032), with perplexities in place of mean losses, as in
    Mixture-of-Skills and the authors' later work (Superfiltering).
    """
    # Far above any model's that predicts anything, and exp would overflow.
    return math.exp(min(loss - loss_alone, 700.0))


class Scores:
    """JSON lines: first the settings, then one line per example, in the order of measurement.

    A line is ``{"index": of the example in the dataset, "score": its IFD, "loss": nats per response
    token after the instruction, "loss_alone": without it}``.

    Args:
        path (Path): the file, made if it is missing.
        settings (Mapping[str, Any]): all that the scores depend on.

    Attributes:
        by_index (dict[int, float]): the scores in the file.

    Raises:
        UserError: if the file has scores of other settings, or is not such a file.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.by_index: dict[int, float] = {}
        self._journal = Journal(path)
        try:
            if not self._journal.records:
                self._journal.append({"settings": dict(settings)})
            self._check_settings(settings)
            for number, record in enumerate(self._journal.records[1:], 2):
                match record:
                    case {"index": int(index), "score": float(score)}:
                        self.by_index[index] = score
                    case _:
                        raise UserError(f"line {number} of {path} is no score of an example")
        except BaseException:
            self.close()
            raise

    def add(self, losses: Iterable[tuple[int, float, float]]) -> None:
        """Write examples' losses, and wait until the disk has them.

        Args:
            losses (Iterable[tuple[int, float, float]]): index, loss after the instruction and loss
                of the response alone; what is in the file already is passed over.
        """
        new = {
            index: {"score": difficulty(loss, alone), "loss": loss, "loss_alone": alone}
            for index, loss, alone in losses
            if index not in self.by_index
        }
        self._journal.extend({"index": index, **measured} for index, measured in new.items())
        self.by_index |= {index: measured["score"] for index, measured in new.items()}

    def close(self) -> None:
        """Close the file, so that another run may write it."""
        self._journal.close()

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        path, found = self._journal.path, self._journal.records[0].get("settings")
        if not isinstance(found, dict):
            raise UserError(f"line 1 of {path} has no settings; mos-tune did not write this file")
        for key, value in settings.items():
            if found.get(key) != value:
                raise UserError(
                    f"{path} holds scores with another {key}: {found.get(key)}, not {value}; "
                    "delete it or give another selection.output_dir"
                )
