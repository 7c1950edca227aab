# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Examples of one dataset end to end in one training sequence: a pack."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from torchtune.modules.attention_utils import create_block_causal_mask, packed_block_causal_mask

from mos_tune.data.examples import Examples, MixtureData
from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError
from mos_tune.mixture import Sequences


class Packs(Sequences):
    """The examples of a dataset, packed once and for all passes.

    Attributes:
        packs (list[list[int]]): positions among the examples; each example is in one pack.
        size (int): tokens that a pack may hold.
    """

    def __init__(self, examples: Examples, size: int) -> None:
        self._examples = examples
        self.size = size
        self.packs = plan_packs(examples.lengths, size)

    def __len__(self) -> int:
        """Count the packs."""
        return len(self.packs)

    def __getitem__(self, position: int) -> dict[str, list[int]]:
        """Read one pack: ``tokens``, ``labels`` and ``seq_lens``, the tokens of each example.

        Raises:
            UserError: if an example cannot be read.
        """
        pack: dict[str, list[int]] = {"tokens": [], "labels": [], "seq_lens": []}
        for chosen in self.packs[position]:
            example = self._examples[chosen]
            pack["tokens"] += list(example["tokens"])
            # The loss predicts every label from the token before it, here another example's last.
            pack["labels"] += [CROSS_ENTROPY_IGNORE_IDX, *example["labels"][1:]]
            pack["seq_lens"].append(len(example["tokens"]))
        return pack

    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the examples in one pack, by their indices in the dataset, and its tokens."""
        chosen = self._examples.some(self.packs[position])
        return chosen.indices, sum(chosen.lengths)


def plan_packs(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Choose which examples share a pack, by best fit in descending order of length.

    Each goes where it leaves least room. That leaves 0 to 3 % of the packs of four real datasets
    empty, and packing in the order of the data 4 to 23 % (docs/data.md).

    Args:
        lengths (Sequence[int]): tokens of each example, at most ``size``.
        size (int): tokens that a pack may hold.

    Returns:
        list[list[int]]: positions in ``lengths``; a function of the arguments.
    """
    packs: list[list[int]] = []
    with_room: dict[int, list[int]] = defaultdict(list)
    rooms: list[int] = []  # the keys of with_room, ascending
    for position in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        length = lengths[position]
        found = bisect_left(rooms, length)
        if found == len(rooms):
            packs.append([])
            pack, room = len(packs) - 1, size
        else:
            room = rooms[found]
            pack = with_room[room].pop()
            if not with_room[room]:
                rooms.pop(found)
        packs[pack].append(position)
        if not with_room[room - length]:
            insort(rooms, room - length)
        with_room[room - length].append(pack)
    return packs


def training_sequences(data: MixtureData, max_seq_len: int | None) -> dict[str, Sequences]:
    """Give what is drawn from each dataset: packs where the config asks for them, else examples.

    Args:
        data (MixtureData): the examples.
        max_seq_len (int | None): the tokenizer's, the size of a pack.

    Returns:
        dict[str, Sequences]: by dataset name.

    Raises:
        UserError: if ``max_seq_len`` is None or an example is longer, or reading an example twice
            gives two things, so that its pack might not hold the second.
    """
    sequences: dict[str, Sequences] = dict(data.train)
    for name in data.packed:
        key, examples = f"dataset.{name}", data.train[name]
        if max_seq_len is None:
            raise UserError(f"{key}.packed is True, but tokenizer.max_seq_len, its size, is null")
        if data.fingerprints[key] is None:
            raise UserError(
                f"{key}.packed is True, but it gives another example each time one is read, and "
                "packs are made of fixed lengths; use False"
            )
        longest = max(range(len(examples)), key=lambda one: examples.lengths[one])
        if examples.lengths[longest] > max_seq_len:
            raise UserError(
                f"{key}.packed is True, but its example {examples.indices[longest]} has "
                f"{examples.lengths[longest]} tokens, more than tokenizer.max_seq_len "
                f"{max_seq_len}, the size of a pack"
            )
        sequences[name] = packs = Packs(examples, max_seq_len)
        full = sum(examples.lengths) / (max_seq_len * len(packs))
        log_rank_zero(
            f"{key}: {len(examples):,} training examples in {len(packs):,} packs of {max_seq_len} "
            f"tokens, {full:.1%} full; a draw takes a pack",
        )
    return sequences


def mean_lengths(
    data: MixtureData, sequences: Mapping[str, Sequences]
) -> dict[str, dict[str, float]]:
    """Give the tokens and response tokens that a draw takes on average, by unit and dataset."""
    parts = data.train
    return {
        "tokens": {name: sum(parts[name].lengths) / len(one) for name, one in sequences.items()},
        "response_tokens": {
            name: sum(parts[name].responses) / len(one) for name, one in sequences.items()
        },
    }


def pack_sizes(sequences: Mapping[str, Sequences]) -> dict[str, int | None]:
    """Give the tokens that a pack of each dataset may hold; None where examples are drawn."""
    return {name: one.size if isinstance(one, Packs) else None for name, one in sequences.items()}


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
