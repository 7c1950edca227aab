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

from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.training.components import build
from mos_tune.training.data_files import fault_of_files
from mos_tune.training.reading import cannot_be_read, read_examples


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
            raise UserError(cannot_be_read(self.key, self.dataset, index, error)) from error


@dataclass(frozen=True)
class MixtureData:
    """Training and held-out examples by dataset name.

    Attributes:
        train (dict[str, Examples]): training examples.
        held_out (dict[str, Examples]): the held-out examples to measure; none without validation.
        fingerprints (dict[str, str | None]): of every dataset, by its place in the config.
        max_epochs (dict[str, int]): of the datasets that may be passed over only so often.
    """

    train: dict[str, Examples]
    held_out: dict[str, Examples]
    fingerprints: dict[str, str | None]
    max_epochs: dict[str, int]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of training examples of each dataset."""
        return {name: len(examples) for name, examples in self.train.items()}


def load_data(cfg: DictConfig, tokenizer: Any, seed: int) -> MixtureData:
    """Build every dataset of ``cfg.dataset`` and ``cfg.validation``, and read every example once.

    Args:
        cfg (DictConfig): the run's config, checked.
        tokenizer (Any): a torchtune tokenizer, passed to every builder.
        seed (int): decides which examples are held out.

    Returns:
        MixtureData: the examples; of held-out datasets of their own the first
            ``validation.max_examples``, of a held-out part as many drawn at random.

    Raises:
        UserError: if a dataset cannot be built, an example cannot be read, or none
            can be trained on.
    """
    validation = cfg.get("validation")
    train: dict[str, Examples] = {}
    held_out: dict[str, Examples] = {}
    fingerprints: dict[str, str | None] = {}
    max_epochs: dict[str, int] = {}
    for name, section in cfg.dataset.items():
        key = f"dataset.{name}"
        # It is the mixture's, so the builder does not get to see it.
        section = section.copy()
        limit = section.pop("max_epochs", None)
        if limit is not None:
            max_epochs[name] = limit
        dataset, usable, fingerprints[key] = _read(key, section, tokenizer)
        train[name] = Examples(key, dataset, usable)
        if validation is not None and validation.get("fraction") is not None:
            kept, held = hold_out(len(usable), validation.fraction, seed=seed, name=name)
            train[name] = Examples(key, dataset, [usable[position] for position in kept])
            first = [usable[position] for position in held[: validation.max_examples]]
            held_out[name] = Examples(key, dataset, first)
        elif validation is not None:
            key = f"validation.dataset.{name}"
            dataset, usable, fingerprints[key] = _read(key, validation.dataset[name], tokenizer)
            held_out[name] = Examples(key, dataset, usable[: validation.max_examples])
    return MixtureData(train, held_out, fingerprints, max_epochs)


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


def _read(key: str, section: DictConfig, tokenizer: Any) -> tuple[Any, list[int], str | None]:
    try:
        dataset = build(key, section, tokenizer)
        try:
            size = len(dataset)
        except TypeError as error:
            raise UserError(f"{key} has no length; a mixture needs map-style datasets") from error
        if size == 0:
            raise UserError(f"{key} is empty; at least 1 example is needed")
        return dataset, *read_examples(key, dataset, tokenizer)
    except UserError as error:
        fault = fault_of_files(section)
        if fault is not None:
            raise UserError(f"{key}: {fault}") from error
        files = section.get("data_files")
        if files is None or str(files) in str(error):
            raise
        raise UserError(f"{error}; {key}.data_files: {files}") from error
