# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every example read once before training: a bad row stops the run now and not after days."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from torchtune import utils
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from tqdm import tqdm

from mos_tune.errors import UnusableExample, UserError
from mos_tune.training.agreement import from_all_ranks

log = utils.get_logger("INFO")

SECONDS_WITHOUT_BAR = 5.0
_LONGEST_ROW = 200


def usable_examples(key: str, dataset: Any, tokenizer: Any) -> list[int]:
    """Read a dataset and give the examples that can be trained on; called on all ranks alike.

    It costs what tokenising the dataset once costs, shared by the ranks. An example without a
    response token has no loss and no perplexity; one whose response is nothing but stop tokens
    teaches to say nothing. Both are left out, as is what the dataset itself calls unusable, and
    counted in the log.

    Args:
        key (str): the dataset's place in the config, for messages.
        dataset (Any): items have ``tokens`` and ``labels``.
        tokenizer (Any): its ``eos_id`` and ``stop_tokens`` are what ends a response.

    Returns:
        list[int]: indices in ascending order, the same on every rank.

    Raises:
        UserError: on every rank, if an example cannot be read or none can be trained on.
    """
    world_size, rank = utils.get_world_size_and_rank()
    stops = {getattr(tokenizer, "eos_id", None), *(getattr(tokenizer, "stop_tokens", None) or ())}
    left_out: dict[int, str] = {}
    unreadable: dict[int, str] = {}
    share = range(rank, len(dataset), world_size)
    for index in tqdm(share, desc=key, delay=SECONDS_WITHOUT_BAR, disable=rank != 0):
        try:
            reason = _useless(dataset[index]["labels"], stops)
        except UnusableExample as error:
            reason = str(error)
        except Exception as error:  # the user's builder and files decide what is raised
            unreadable[index] = cannot_be_read(key, dataset, index, error)
            continue
        if reason is not None:
            left_out[index] = reason
    for others_left_out, others_unreadable in from_all_ranks((left_out, unreadable)):
        left_out |= others_left_out
        unreadable |= others_unreadable
    size = len(dataset)
    if unreadable:
        more = f"; {len(unreadable):,} of {size:,} cannot" if len(unreadable) > 1 else ""
        raise UserError(unreadable[min(unreadable)] + more)
    counts = Counter(left_out.values()).most_common()
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in counts)
    if len(left_out) == size:
        raise UserError(f"{key}: none of its {size:,} examples can be trained on ({reasons})")
    if left_out:
        utils.log_rank_zero(log, f"{key}: {len(left_out):,} of {size:,} left out ({reasons})")
    return [index for index in range(size) if index not in left_out]


def cannot_be_read(key: str, dataset: Any, index: int, error: Exception) -> str:
    """Say which example cannot be read, why, and what stands there if that is known."""
    message = f"{key}: example {index} cannot be read: {type(error).__name__}: {error}"
    try:
        # Where torchtune's datasets and ours keep the rows as they were loaded.
        row = repr(dataset._data[index])
    except Exception:  # there is no such thing, or it is what cannot be read
        return message
    return f"{message}; its row is {row if len(row) <= _LONGEST_ROW else row[:_LONGEST_ROW] + '…'}"


def _useless(labels: Sequence[int], stops: Collection[Any]) -> str | None:
    # The first label is never predicted.
    response = [label for label in labels[1:] if label != CROSS_ENTROPY_IGNORE_IDX]
    if not response:
        return "no response token, all masked or cut off by tokenizer.max_seq_len"
    if all(int(label) in stops for label in response):
        return "a blank answer"
    return None
