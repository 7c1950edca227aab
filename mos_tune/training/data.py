# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import Subset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX

from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.training.components import build


@dataclass(frozen=True)
class MixtureData:
    """Training and held-out examples by dataset name; ``indices`` tells where each came from.

    Attributes:
        train (dict[str, Subset]): training examples.
        held_out (dict[str, Subset]): the held-out examples to measure; none without validation.
    """

    train: dict[str, Subset]
    held_out: dict[str, Subset]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of training examples of each dataset."""
        return {name: len(subset) for name, subset in self.train.items()}


def load_data(cfg: DictConfig, tokenizer: Any, seed: int) -> MixtureData:
    """Build every dataset of ``cfg.dataset`` and ``cfg.validation``.

    Args:
        cfg (DictConfig): the run's config, checked.
        tokenizer (Any): a torchtune tokenizer, passed to every builder.
        seed (int): decides which examples are held out.

    Returns:
        MixtureData: the examples.

    Raises:
        UserError: if a dataset cannot be built or read, is empty, or has no response token at all.
    """
    validation = cfg.get("validation")
    train: dict[str, Subset] = {}
    held_out: dict[str, Subset] = {}
    for name, section in cfg.dataset.items():
        key = f"dataset.{name}"
        dataset = _build_dataset(key, section, tokenizer)
        kept = list(range(len(dataset)))
        if validation is not None and validation.get("fraction") is not None:
            kept, held = (
                part.tolist()
                for part in hold_out(len(dataset), validation.fraction, seed=seed, name=name)
            )
            held_out[name] = Subset(dataset, held[: validation.max_examples])
        elif validation is not None:
            other = _build_dataset(
                f"validation.dataset.{name}", validation.dataset[name], tokenizer
            )
            held_out[name] = Subset(other, list(range(min(len(other), validation.max_examples))))
        train[name] = Subset(dataset, kept)
    return MixtureData(train, held_out)


def steps_per_epoch(cfg: DictConfig, sizes: dict[str, int], global_batch_size: int) -> int:
    """Steps that draw as many examples as the datasets hold together, at most as configured."""
    steps = sum(sizes.values()) // global_batch_size
    if steps == 0:
        raise UserError(
            f"the datasets hold {sum(sizes.values())} training examples together, fewer than one "
            f"global batch of {global_batch_size} "
            "(batch_size * gradient_accumulation_steps * number of processes)"
        )
    limit = cfg.get("max_steps_per_epoch")
    return steps if limit is None else min(steps, limit)


def _build_dataset(key: str, section: DictConfig, tokenizer: Any) -> Any:
    dataset = build(key, section, tokenizer)
    try:
        size = len(dataset)
    except TypeError as error:
        raise UserError(f"{key} has no length; a mixture needs map-style datasets") from error
    if size == 0:
        raise UserError(f"{key} is empty; at least 1 example is needed")
    # Usually the first example has a response, and only that one is read.
    for index in range(size):
        try:
            labels = dataset[index]["labels"]
        except Exception as error:
            raise UserError(
                f"{key}: example {index} cannot be read: {type(error).__name__}: {error}"
            ) from error
        if any(label != CROSS_ENTROPY_IGNORE_IDX for label in labels[1:]):
            return dataset
    raise UserError(
        f"{key}: none of its {size} examples has a response token to train on; they are all "
        "masked, or truncated away by tokenizer.max_seq_len"
    )
