# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from hashlib import blake2b
from typing import Any

from omegaconf import DictConfig
from torchtune.datasets import PackedDataset

from mos_tune.components import build
from mos_tune.data.examples import Examples, MixtureData
from mos_tune.data.file_faults import fault_of_files
from mos_tune.data.scan import scan_examples
from mos_tune.data.selection_file import chosen_positions
from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.sections import Sections


def load_data(sections: Sections, tokenizer: Any, seed: int) -> MixtureData:
    """Build every dataset of ``dataset`` and ``validation``, and read every example once.

    Args:
        sections (Sections): what the config says of them.
        tokenizer (Any): a torchtune tokenizer, passed to every builder.
        seed (int): decides which examples are held out.

    Returns:
        MixtureData: the examples; of held-out datasets of their own the first
            ``validation.max_examples``, of a held-out part as many drawn at random.

    Raises:
        UserError: if a dataset cannot be built, an example cannot be read, or none
            can be trained on.
    """
    validation = sections.validation
    train: dict[str, Examples] = {}
    held_out: dict[str, Examples] = {}
    fingerprints: dict[str, str | None] = {}
    for name, section in sections.datasets.items():
        key = f"dataset.{name}"
        examples, fingerprints[key] = _read(key, section.builder, tokenizer)
        train[name] = examples
        if validation is not None and validation.fraction is not None:
            kept, held = hold_out(len(examples), validation.fraction, seed=seed, name=name)
            train[name] = examples.some(kept)
            held_out[name] = examples.some(held[: validation.max_examples])
        elif validation is not None and validation.dataset is not None:
            key = f"validation.dataset.{name}"
            examples, fingerprints[key] = _read(key, validation.dataset[name], tokenizer)
            held_out[name] = examples.some(range(len(examples))[: validation.max_examples])
        # After the hold-out, so that a run on selected examples is measured on those of any other.
        if section.selection is not None:
            whole, key = train[name], f"dataset.{name}.selection"
            chosen = chosen_positions(key, section.selection, whole.dataset, whole.indices)
            train[name] = whole.some(chosen)
            members = repr(train[name].indices).encode()
            fingerprints[key] = blake2b(members, digest_size=8).hexdigest()
    limits = {name: section.max_epochs for name, section in sections.datasets.items()}
    return MixtureData(
        train=train,
        held_out=held_out,
        fingerprints=fingerprints,
        max_epochs={name: limit for name, limit in limits.items() if limit is not None},
        packed=[name for name, section in sections.datasets.items() if section.packed],
    )


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
        scan = scan_examples(key, dataset, tokenizer)
        examples = Examples(key, dataset, scan.usable, scan.lengths, scan.responses)
        return examples, scan.fingerprint
    except UserError as error:
        fault = fault_of_files(section)
        if fault is not None:
            raise UserError(f"{key}: {fault}") from error
        files = section.get("data_files")
        if files is None or str(files) in str(error):
            raise
        raise UserError(f"{error}; {key}.data_files: {files}") from error
