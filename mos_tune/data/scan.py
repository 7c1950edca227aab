# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every example read once before training: a bad row stops the run now and not after days."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Subset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from tqdm import tqdm

from mos_tune.data.examples import cannot_be_read
from mos_tune.distributed import gather, get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UnusableExample, UserError

SECONDS_WITHOUT_BAR = 5.0


class Scan(NamedTuple):
    """What is known of a dataset once every example is read; the same for any number of ranks.

    Attributes:
        usable (list[int]): indices of the examples that can be trained on, ascending.
        lengths (list[int]): the tokens of each of these.
        fingerprint (str | None): a hash of all tokens and labels; None if reading an example twice
            gives two things.
        responses (list[int]): the response tokens of each usable example.
    """

    usable: list[int]
    lengths: list[int]
    fingerprint: str | None
    responses: list[int]


def scan_examples(key: str, dataset: Any, tokenizer: Any) -> Scan:
    """Read every example of a dataset; called on all ranks alike.

    It costs what tokenising the dataset once costs, shared by the ranks. An example without a
    response token has no loss and no perplexity; one whose response is nothing but stop tokens
    teaches to say nothing. Both are left out, as is what the dataset itself calls unusable, and
    counted in the log.

    Args:
        key (str): the dataset's place in the config, for messages.
        dataset (Any): items have ``tokens`` and ``labels``.
        tokenizer (Any): its ``eos_id`` and ``stop_tokens`` are what ends a response.

    Returns:
        Scan: what can be trained on.

    Raises:
        UserError: on every rank, if an example cannot be read or none can be trained on.
    """
    world_size, rank = get_world_size_and_rank()
    stops = {getattr(tokenizer, "eos_id", None), *(getattr(tokenizer, "stop_tokens", None) or ())}
    left_out: dict[int, str] = {}
    unreadable: dict[int, str] = {}
    hashes, changing = 0, False
    share = range(rank, len(dataset), world_size)
    lengths = np.zeros((len(share), 2), dtype=np.int32)
    bar = tqdm(share, desc=key, delay=SECONDS_WITHOUT_BAR, disable=rank != 0)
    for position, index in enumerate(bar):
        try:
            example = dataset[index]
            hashes += _hash(index, example)
            if index == rank and hashes != _hash(index, dataset[index]):
                changing = True
            lengths[position] = len(example["tokens"]), len(_response(example["labels"]))
            reason = _useless(example["labels"], stops)
        except UnusableExample as error:
            reason = str(error)
            hashes += _hash(index, reason)
        except Exception as error:  # the user's builder and files decide what is raised
            unreadable[index] = cannot_be_read(key, dataset, index, error)
            continue
        if reason is not None:
            left_out[index] = reason
    everyone = gather((left_out, unreadable, hashes, changing, lengths))
    size = len(dataset)
    all_lengths = np.zeros((size, 2), dtype=np.int32)
    for other, (others_left_out, others_unreadable, _, _, others_lengths) in enumerate(everyone):
        left_out |= others_left_out
        unreadable |= others_unreadable
        all_lengths[other::world_size] = others_lengths
    if unreadable:
        more = f"; {len(unreadable):,} of {size:,} cannot" if len(unreadable) > 1 else ""
        raise UserError(unreadable[min(unreadable)] + more)
    counts = Counter(left_out.values()).most_common()
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in counts)
    if len(left_out) == size:
        raise UserError(f"{key}: none of its {size:,} examples can be trained on ({reasons})")
    usable = [index for index in range(size) if index not in left_out]
    said = [f"{len(usable):,} examples"]
    if isinstance(dataset, Subset):
        whole: Any = dataset.dataset
        said.append(f"{size:,} of {len(whole):,} drawn")
    if left_out:
        said.append(f"{len(left_out):,} of {size:,} left out ({reasons})")
    log_rank_zero(f"{key}: {', '.join(said)}")
    # A sum does not depend on who read what.
    fingerprint: str | None = f"{sum(part[2] for part in everyone) % 2**64:016x}"
    if any(part[3] for part in everyone):
        fingerprint = None
        log_rank_zero(
            f"{key} gives another example each time one is read; no resume of it is exact"
        )
    tokens, responses = all_lengths[usable].T.tolist()
    return Scan(usable, tokens, fingerprint, responses)


def _hash(index: int, example: Any) -> int:
    if isinstance(example, Mapping):
        parts = [np.asarray(example[part], "<i8").tobytes() for part in ("tokens", "labels")]
        example = (len(parts[0]), *parts)
    return int.from_bytes(blake2b(repr((index, example)).encode(), digest_size=8).digest(), "big")


def _response(labels: Sequence[int]) -> list[int]:
    # The first label is never predicted.
    return [label for label in labels[1:] if label != CROSS_ENTROPY_IGNORE_IDX]


def _useless(labels: Sequence[int], stops: Collection[Any]) -> str | None:
    response = _response(labels)
    if not response:
        return "no response token, all masked or cut off by tokenizer.max_seq_len"
    if all(int(label) in stops for label in response):
        return "a blank answer"
    return None
