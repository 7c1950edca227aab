# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Losses of responses, one example at a time, by transformers."""

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel


def losses_by_transformers(
    hf_model: PreTrainedModel, example: dict, prefix_id: int
) -> tuple[float, float]:
    """Nats per response token after the prompt, and after ``prefix_id`` alone."""
    tokens, labels = torch.tensor(example["tokens"]), torch.tensor(example["labels"])
    response = [label for label in example["labels"][1:] if label != -100]
    alone = torch.tensor([prefix_id, *response])
    with torch.no_grad():
        given = hf_model(tokens[None]).logits[0, :-1]
        without = hf_model(alone[None]).logits[0, :-1]
    return cross_entropy(given, labels[1:]).item(), cross_entropy(without, alone[1:]).item()
