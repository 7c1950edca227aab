# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A micro-batch of what was drawn: packs, examples, or both."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchtune.modules.attention_utils import create_block_causal_mask, packed_block_causal_mask


def collate_sequences(
    sequences: list[dict[str, Any]],
    *,
    collate_examples: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
    pack_size: int | None,
    padding_idx: int,
    ignore_idx: int,
    device: torch.device,
) -> dict[str, Any]:
    """Make a micro-batch of packs, of examples, or of both.

    Without a pack it is the same as without packing. With one, all are padded to the size of a
    pack, so that compiled kernels meet one shape.

    Args:
        sequences (list[dict[str, Any]]): examples, and packs, which have ``seq_lens``.
        collate_examples (Callable): for examples alone.
        pack_size (int | None): tokens that a pack may hold; None where there are no packs.
        padding_idx (int): token in the place of none.
        ignore_idx (int): label in the place of none.
        device (torch.device): where the model is; its kind decides what a mask is made of.

    Returns:
        dict[str, Any]: ``tokens``, ``labels``, and with a pack ``input_pos``, from 0 in each
            example, all ``[b, s]``, and ``mask``, causal within each example: bool ``[b, s, s]``,
            or a ``BlockMask`` on CUDA.
    """
    if not any("seq_lens" in sequence for sequence in sequences):
        return collate_examples(sequences)
    # An example of a dataset that is not packed may be longer.
    size = max(pack_size or 0, *(len(sequence["tokens"]) for sequence in sequences))
    batch: Mapping[str, list[Tensor]] = {"tokens": [], "labels": [], "input_pos": [], "lengths": []}
    for sequence in sequences:
        lengths = list(sequence.get("seq_lens", [len(sequence["tokens"])]))
        padding = size - sum(lengths)
        if padding:
            lengths.append(padding)
        batch["tokens"].append(_padded(sequence["tokens"], padding, padding_idx))
        batch["labels"].append(_padded(sequence["labels"], padding, ignore_idx))
        batch["input_pos"].append(torch.cat([torch.arange(length) for length in lengths]))
        batch["lengths"].append(torch.tensor(lengths))
    mask = packed_block_causal_mask if device.type == "cuda" else create_block_causal_mask
    parts = {key: torch.stack(batch[key]) for key in ("tokens", "labels", "input_pos")}
    return {**parts, "mask": mask(batch["lengths"])}


def _padded(values: Any, padding: int, value: int) -> Tensor:
    return F.pad(torch.as_tensor(values), (0, padding), value=value)
