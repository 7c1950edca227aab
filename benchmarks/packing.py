# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What packing saves, for docs/data.md.

    python benchmarks/packing.py --config configs/smollm2_135M_mos.yaml [--examples 48 --rounds 3]

Of every dataset of a config, as its packs would be: how full they are, how full packs in the order
of the data would be, and how much of ordinary batches of the config's batch_size is padding. Then
the same examples, packed and not, go forward and backward through the config's model
(random weights), turn by turn in one process; the figure is the ratio of the times.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch.nn.functional import cross_entropy
from torchtune import config, training, utils
from torchtune.data import padded_collate_sft

from mos_tune.data.examples import Examples
from mos_tune.data.load import load_data
from mos_tune.data.packing import Packs, collate_sequences
from mos_tune.sections import read_sections

IGNORED = -100


def packs_in_order(lengths: list[int], size: int) -> int:
    """Packs that are filled one after the other, in the order of the data."""
    packs, room = 0, 0
    for length in lengths:
        if length > room:
            packs, room = packs + 1, size
        room -= length
    return packs


def padding(lengths: list[int], batch_size: int) -> float:
    """Measure the share of padding in batches of examples drawn at random."""
    order = np.random.default_rng(0).permutation(lengths)
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    return float(1 - batches.sum() / (batches.max(axis=1).sum() * batch_size))


def batches(sequences: Any, batch_size: int, collate: Callable) -> Iterator[dict[str, Any]]:
    for start in range(0, len(sequences), batch_size):
        chosen = range(start, min(start + batch_size, len(sequences)))
        yield collate([sequences[position] for position in chosen])


def seconds(model: torch.nn.Module, made: list[dict[str, Any]], device: torch.device) -> float:
    """Time one forward and backward pass over all batches."""
    started = time.perf_counter()
    for batch in made:
        batch = dict(batch)
        utils.batch_to_device(batch, device)
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch)[:, :-1]
        cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED).backward()
    for parameter in model.parameters():
        parameter.grad.sum().item()  # waits for the device
        parameter.grad = None
    return time.perf_counter() - started


def compare(cfg: DictConfig, some: list[Examples], rounds: int, tokenizer: Any) -> None:
    device, size = utils.get_device(cfg.device), tokenizer.max_seq_len
    options = {"padding_idx": tokenizer.pad_id, "ignore_idx": IGNORED}

    def collate(sequences: list[dict[str, Any]]) -> dict[str, Any]:
        return collate_sequences(
            sequences,
            collate_examples=lambda rows: padded_collate_sft(rows, **options),
            pack_size=size,
            device=device,
            **options,
        )

    with training.set_default_dtype(training.get_dtype(cfg.dtype, device)), device:
        model = config.instantiate(cfg.model)
    alone = [batch for one in some for batch in batches(one, cfg.batch_size, collate)]
    packed = [batch for one in some for batch in batches(Packs(one, size), cfg.batch_size, collate)]
    ratios = []
    for turn in range(rounds + 1):  # the first warms up
        unpacked = seconds(model, alone, device)
        ratios.append(unpacked / seconds(model, packed, device))
        if turn:
            print(f"turn {turn}: {unpacked:.1f} s unpacked, {ratios[-1]:.2f} times packed's")
    sizes = [sum(batch["tokens"].numel() for batch in made) for made in (alone, packed)]
    print(f"{sizes[0]:,} tokens with padding unpacked, {sizes[1]:,} packed")
    print(f"packed is {np.median(ratios[1:]):.2f} times as fast (median of {rounds})")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--examples", type=int, default=48, help="of each dataset, in the timing")
    parser.add_argument("--rounds", type=int, default=3, help="0: no timing")
    arguments, overrides = parser.parse_known_args()
    cfg = OmegaConf.merge(OmegaConf.load(arguments.config), OmegaConf.from_dotlist(overrides))
    assert isinstance(cfg, DictConfig)
    tokenizer: Any = config.instantiate(cfg.tokenizer)
    cfg.validation = None
    data = load_data(read_sections(cfg), tokenizer, seed=0)
    size = tokenizer.max_seq_len
    some = []
    print("| dataset | examples | packs | full | packs in order, full | padding of batches |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, examples in data.train.items():
        packs, tokens = len(Packs(examples, size)), sum(examples.lengths)
        full, in_order = (
            tokens / (packs * size),
            tokens / (packs_in_order(examples.lengths, size) * size),
        )
        print(
            f"| {name} | {len(examples):,} | {packs:,} | {full:.1%} | {in_order:.1%} | "
            f"{padding(examples.lengths, cfg.batch_size):.1%} |"
        )
        chosen = np.random.default_rng(0).permutation(len(examples))[: arguments.examples]
        some.append(examples.some(chosen))
    if arguments.rounds:
        compare(cfg, some, arguments.rounds, tokenizer)


if __name__ == "__main__":
    main()
