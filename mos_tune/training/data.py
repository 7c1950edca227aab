# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from omegaconf import DictConfig
from torch.utils.data import Dataset
from torchtune.datasets import PackedDataset

from mos_tune.components import build
from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.training.data_files import fault_of_files
from mos_tune.training.reading import cannot_be_read, read_examples
from mos_tune.training.selected import chosen_positions

MIXTURE_OPTIONS = ("max_epochs", "packed", "selection")
"""What a dataset's section may have beside its builder's own options."""


class Sequences(Dataset, ABC):
    """What is drawn from one dataset: one training sequence at a time."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the sequences."""

    @abstractmethod
    def __getitem__(self, position: int) -> dict[str, Any]:
        """Read one sequence, with ``tokens`` and ``labels``."""

    @abstractmethod
    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the examples in one sequence, by their indices in the dataset, and its tokens."""


class Examples(Sequences):
    """Some examples of a dataset, each a sequence; one that cannot be read is reported by name.

    Attributes:
        key (str): the dataset's place in the config.
        dataset (Any): the dataset as it was built.
        indices (list[int]): which of its examples, in order.
        lengths (list[int]): the tokens of each.
    """

    def __init__(self, key: str, dataset: Any, indices: list[int], lengths: list[int]) -> None:
        self.key = key
        self.dataset = dataset
        self.indices = indices
        self.lengths = lengths

    def some(self, positions: Any) -> "Examples":
        """Give the examples at these positions among them, in that order."""
        indices = [self.indices[position] for position in positions]
        lengths = [self.lengths[position] for position in positions]
        return Examples(self.key, self.dataset, indices, lengths)

    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the index of one example, and its tokens: as a sequence, it is all there is."""
        return [self.indices[position]], self.lengths[position]

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
        fingerprints (dict[str, str | None]): of every dataset and selection, by its place in the
            config.
        max_epochs (dict[str, int]): of the datasets that may be passed over only so often.
        packed (list[str]): the datasets whose examples are to be packed.
    """

    train: dict[str, Examples]
    held_out: dict[str, Examples]
    fingerprints: dict[str, str | None]
    max_epochs: dict[str, int]
    packed: list[str]


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
    packed: list[str] = []
    for name, section in cfg.dataset.items():
        key = f"dataset.{name}"
        # They are the mixture's, so the builder does not get to see them.
        section = section.copy()
        options = {option: section.pop(option, None) for option in MIXTURE_OPTIONS}
        if options["max_epochs"] is not None:
            max_epochs[name] = options["max_epochs"]
        if options["packed"]:
            packed.append(name)
        examples, fingerprints[key] = _read(key, section, tokenizer)
        train[name] = examples
        if validation is not None and validation.get("fraction") is not None:
            kept, held = hold_out(len(examples), validation.fraction, seed=seed, name=name)
            train[name] = examples.some(kept)
            held_out[name] = examples.some(held[: validation.max_examples])
        elif validation is not None:
            key = f"validation.dataset.{name}"
            examples, fingerprints[key] = _read(key, validation.dataset[name], tokenizer)
            held_out[name] = examples.some(range(len(examples))[: validation.max_examples])
        # After the hold-out, so that a run on selected examples is measured on those of any other.
        if options["selection"] is not None:
            whole, key = train[name], f"dataset.{name}.selection"
            chosen = chosen_positions(key, options["selection"], whole.dataset, whole.indices)
            train[name] = whole.some(chosen)
            members = repr(train[name].indices).encode()
            fingerprints[key] = blake2b(members, digest_size=8).hexdigest()
    return MixtureData(train, held_out, fingerprints, max_epochs, packed)


def _read(key: str, section: DictConfig, tokenizer: Any) -> tuple[Examples, str | None]:
    try:
        dataset = build(key, section, tokenizer)
        if isinstance(dataset, PackedDataset):
            raise UserError(
                f"{key} gives packs of examples; rewards and held-out losses need the examples, "
                f"and dataset.{key.rpartition('.')[2]}.packed: True packs them for training"
            )
        try:
            size = len(dataset)
        except TypeError as error:
            raise UserError(f"{key} has no length; a mixture needs map-style datasets") from error
        if size == 0:
            raise UserError(f"{key} is empty; at least 1 example is needed")
        usable, lengths, fingerprint = read_examples(key, dataset, tokenizer)
        return Examples(key, dataset, usable, lengths), fingerprint
    except UserError as error:
        fault = fault_of_files(section)
        if fault is not None:
            raise UserError(f"{key}: {fault}") from error
        files = section.get("data_files")
        if files is None or str(files) in str(error):
            raise
        raise UserError(f"{error}; {key}.data_files: {files}") from error
