# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every example read once before training: a bad row stops the run now and not after days."""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Subset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from tqdm import tqdm

from mos_tune.data.blank_answers import BLANK, Answers
from mos_tune.data.examples import cannot_be_read, name_of
from mos_tune.data.limits import Misfit, ModelLimits
from mos_tune.data.torchtune_rows import reads_of
from mos_tune.datasets.rows import raw_row
from mos_tune.distributed import gather, get_world_size_and_rank, log_rank_zero
from mos_tune.errors import BadRow, UnusableExample

SECONDS_WITHOUT_BAR = 5.0
PROMPTS_ARE_TRAINED_ON = 0.95
"""The share of response tokens above which the start says it."""

_REASONS_SHOWN = 8


class Scan(NamedTuple):
    """What is known of a dataset once every example is read; the same for any number of ranks.

    Attributes:
        usable (list[int]): indices of the examples that can be trained on, ascending.
        lengths (list[int]): the tokens of each of these.
        fingerprint (str | None): a hash of all tokens and labels; None if reading an example twice
            gives two things.
        hashes (np.ndarray): of tokens and labels of each usable example; the same for twins.
        responses (list[int]): the response tokens of each usable example.
    """

    usable: list[int]
    lengths: list[int]
    fingerprint: str | None
    hashes: np.ndarray
    responses: list[int]


@dataclass
class _Share:
    """What one rank has read."""

    lengths: np.ndarray
    hashes: np.ndarray
    responses: np.ndarray
    left_out: dict[int, str] = field(default_factory=dict)
    first_bad: tuple[int, str] | None = None
    bad: int = 0
    fingerprint: int = 0
    changing: bool = False
    cut_off: int = 0
    tokens: int = 0


def scan_examples(
    key: str,
    dataset: Any,
    tokenizer: Any,
    *,
    limits: ModelLimits | None = None,
    skip_bad_rows: bool = False,
) -> Scan:
    """Read every example of a dataset; called on all ranks alike.

    It costs what tokenising the dataset once costs, shared by the ranks, and those examples once
    more that fill ``tokenizer.max_seq_len``. An example without a response token has no loss and no
    perplexity; one with a blank answer teaches to say nothing. Both are left out, as is what the
    dataset itself calls unusable, and counted in the log.

    Args:
        key (str): the dataset's place in the config, for messages.
        dataset (Any): items have ``tokens`` and ``labels``.
        tokenizer (Any): a torchtune tokenizer, the one that the dataset was built with.
        limits (ModelLimits | None): what the model can read. Default None: anything.
        skip_bad_rows (bool): leave out and count what cannot be read or is beyond the limits, too.
            Default False.

    Returns:
        Scan: what can be trained on.

    Raises:
        UserError: on every rank, if an example cannot be read or none can be trained on; a
            ``BadRow`` if its rows are to blame.
    """
    world_size, rank = get_world_size_and_rank()
    share = _read_share(key, dataset, tokenizer, limits or ModelLimits(), skip_bad_rows)
    everyone: list[_Share] = gather(share)
    size = len(dataset)
    lengths, hashes = np.zeros(size, np.int32), np.zeros(size, np.uint64)
    responses = np.zeros(size, np.int32)
    left_out: dict[int, str] = {}
    for other, one in enumerate(everyone):
        left_out |= one.left_out
        lengths[other::world_size] = one.lengths
        hashes[other::world_size] = one.hashes
        responses[other::world_size] = one.responses
    bad = sum(one.bad for one in everyone)
    if bad:
        first = min(one.first_bad for one in everyone if one.first_bad is not None)[1]
        more = f"; {bad:,} of {size:,} examples are bad" if bad > 1 else ""
        raise BadRow(first + more, "bad rows")
    counts = Counter(left_out.values()).most_common()
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in counts[:_REASONS_SHOWN])
    if len(counts) > _REASONS_SHOWN:
        reasons += f", other reasons: {sum(count for _, count in counts[_REASONS_SHOWN:]):,}"
    if len(left_out) == size:
        raise BadRow(
            f"{key}: none of its {size:,} examples can be trained on ({reasons})", "none left"
        )
    usable = [index for index in range(size) if index not in left_out]
    said = [f"{len(usable):,} examples"]
    if isinstance(dataset, Subset):
        whole: Any = dataset.dataset
        said.append(f"{size:,} of {len(whole):,} drawn")
    if left_out:
        said.append(f"{len(left_out):,} of {size:,} left out ({reasons})")
    cut_off = sum(one.cut_off for one in everyone)
    if cut_off:
        said.append(f"{cut_off:,} cut off at tokenizer.max_seq_len {tokenizer.max_seq_len}")
    log_rank_zero(f"{key}: {', '.join(said)}")
    trained_on = int(responses.sum()) / sum(one.tokens for one in everyone)
    if trained_on > PROMPTS_ARE_TRAINED_ON:
        log_rank_zero(
            f"{key}: {trained_on:.1%} of its tokens are trained on; if prompts are among them, "
            "train_on_input: False masks them in torchtune's builders",
            level=logging.WARNING,
        )
    # A sum does not depend on who read what.
    fingerprint: str | None = f"{sum(one.fingerprint for one in everyone) % 2**64:016x}"
    if any(one.changing for one in everyone):
        fingerprint = None
        log_rank_zero(
            f"{key} gives another example each time one is read; no resume of it is exact"
        )
    return Scan(
        usable, lengths[usable].tolist(), fingerprint, hashes[usable], responses[usable].tolist()
    )


def _read_share(
    key: str, dataset: Any, tokenizer: Any, limits: ModelLimits, skip_bad_rows: bool
) -> _Share:
    world_size, rank = get_world_size_and_rank()
    indices = range(rank, len(dataset), world_size)
    lengths, hashes = np.zeros(len(indices), np.int32), np.zeros(len(indices), np.uint64)
    share = _Share(lengths, hashes, np.zeros_like(lengths))
    answers, reads = Answers(tokenizer), reads_of(dataset)
    longest = getattr(tokenizer, "max_seq_len", None)
    bar = tqdm(indices, desc=key, delay=SECONDS_WITHOUT_BAR, disable=rank != 0)
    for position, index in enumerate(bar):
        try:
            blank = reads is not None and reads.check(raw_row(dataset, index))
            tokens, labels = _arrays(dataset[index])
            fingerprint = _hash(index, (tokens.nbytes, tokens.tobytes(), labels.tobytes()))
            if index == rank:
                again = [part.tobytes() for part in _arrays(dataset[index])]
                share.changing = again != [tokens.tobytes(), labels.tobytes()]
            limits.check(tokens, labels)
            reason = BLANK if blank else answers.useless(labels)
        except UnusableExample as error:
            reason, fingerprint = str(error), _hash(index, str(error))
        except Exception as error:  # the user's builder and files decide what is raised
            # What a disk or the memory refuses today is no fault of the row.
            if not skip_bad_rows or isinstance(error, OSError | MemoryError):
                share.first_bad = share.first_bad or (index, _message(key, dataset, index, error))
                share.bad += 1
                continue
            reason = _reason(error)
            fingerprint = _hash(index, reason)
        share.fingerprint += fingerprint
        if reason is not None:
            share.left_out[index] = reason
            continue
        share.lengths[position] = len(tokens)
        share.hashes[position] = _hash_of_content(tokens, labels)
        share.tokens += len(tokens) - 1
        share.responses[position] = (labels[1:] != CROSS_ENTROPY_IGNORE_IDX).sum()
        # Datasets of plain text are cut off one token earlier.
        if longest is not None and len(tokens) >= longest - 1:
            share.cut_off += _uncut_length(dataset, index, tokenizer) > len(tokens)
    return share


def _message(key: str, dataset: Any, index: int, error: Exception) -> str:
    if isinstance(error, Misfit):
        return f"{name_of(key, dataset, index)} {error}"
    return cannot_be_read(key, dataset, index, error)


def _reason(error: BaseException) -> str:
    """Give why a row is bad without what is different in every row."""
    while not isinstance(error, BadRow) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BadRow):
        return error.reason
    return f"{type(error).__name__}: {re.sub('[0-9]+', 'N', str(error)):.80}".replace("\n", " ")


def _uncut_length(dataset: Any, index: int, tokenizer: Any) -> int:
    limit, tokenizer.max_seq_len = tokenizer.max_seq_len, None
    try:
        return len(dataset[index]["tokens"])
    finally:
        tokenizer.max_seq_len = limit


def _arrays(example: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(example["tokens"], "<i8"), np.asarray(example["labels"], "<i8")


def _hash(index: int, content: Any) -> int:
    return _number(repr((index, content)).encode())


def _hash_of_content(tokens: np.ndarray, labels: np.ndarray) -> int:
    return _number(tokens.tobytes() + labels.tobytes())


def _number(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
