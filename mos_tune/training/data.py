# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import Dataset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX

from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.training.components import build


class Examples(Dataset):
    """Some examples of a dataset; one that cannot be read is reported with its name.

    Attributes:
        key (str): the dataset's place in the config.
        dataset (Any): the dataset as it was built.
        indices (list[int]): which of its examples, in order.
    """

    def __init__(self, key: str, dataset: Any, indices: list[int]) -> None:
        self.key = key
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Read one example.

        Raises:
            UserError: naming the dataset and the example.
        """
        index = self.indices[position]
        try:
            return self.dataset[index]
        except Exception as error:  # the user's builder and files decide what is raised
            raise UserError(
                f"{self.key}: example {index} cannot be read: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True)
class MixtureData:
    """Training and held-out examples by dataset name.

    Attributes:
        train (dict[str, Examples]): training examples.
        held_out (dict[str, Examples]): the held-out examples to measure; none without validation.
    """

    train: dict[str, Examples]
    held_out: dict[str, Examples]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of training examples of each dataset."""
        return {name: len(examples) for name, examples in self.train.items()}


def load_data(cfg: DictConfig, tokenizer: Any, seed: int) -> MixtureData:
    """Build every dataset of ``cfg.dataset`` and ``cfg.validation``.

    Args:
        cfg (DictConfig): the run's config, checked.
        tokenizer (Any): a torchtune tokenizer, passed to every builder.
        seed (int): decides which examples are held out.

    Returns:
        MixtureData: the examples; of held-out datasets of their own the first
            ``validation.max_examples``, of a held-out part as many drawn at random.

    Raises:
        UserError: if a dataset cannot be built or read, is empty, or has no response token at all.
    """
    validation = cfg.get("validation")
    train: dict[str, Examples] = {}
    held_out: dict[str, Examples] = {}
    for name, section in cfg.dataset.items():
        key = f"dataset.{name}"
        dataset = _build_dataset(key, section, tokenizer)
        train[name] = Examples(key, dataset, list(range(len(dataset))))
        _check_responses(key, train[name])
        if validation is not None and validation.get("fraction") is not None:
            kept, held = hold_out(len(dataset), validation.fraction, seed=seed, name=name)
            train[name] = Examples(key, dataset, kept.tolist())
            held_out[name] = Examples(key, dataset, held[: validation.max_examples].tolist())
            _check_responses(f"validation.fraction of {key}", held_out[name])
        elif validation is not None:
            key = f"validation.dataset.{name}"
            dataset = _build_dataset(key, validation.dataset[name], tokenizer)
            first = list(range(min(len(dataset), validation.max_examples)))
            held_out[name] = Examples(key, dataset, first)
            _check_responses(key, held_out[name])
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
    return dataset


def _check_responses(key: str, examples: Examples) -> None:
    # Usually the first example has a response, and only that one is read.
    for position in range(len(examples)):
        labels = examples[position]["labels"]
        if any(label != CROSS_ENTROPY_IGNORE_IDX for label in labels[1:]):
            return
    raise UserError(
        f"{key}: none of its {len(examples)} examples has a response token; they are all masked, "
        "or truncated away by tokenizer.max_seq_len"
    )
