# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from mos_tune.data.blank_answers import say_if_end_is_masked
from mos_tune.data.build import build_dataset, with_files
from mos_tune.data.examples import Examples, MixtureData
from mos_tune.data.limits import ModelLimits
from mos_tune.data.scan import scan_examples
from mos_tune.data.selection_file import chosen_positions
from mos_tune.data.twins import count_twins, without_held_out
from mos_tune.errors import BadRow, UserError
from mos_tune.mixture import hold_out
from mos_tune.sections import DatasetSection, Sections


def load_data(
    sections: Sections, tokenizer: Any, seed: int, limits: ModelLimits | None = None
) -> MixtureData:
    """Build every dataset of ``dataset`` and ``validation``, and read every example once.

    Args:
        sections (Sections): what the config says of them.
        tokenizer (Any): a torchtune tokenizer, passed to every builder.
        seed (int): decides which examples are held out.
        limits (ModelLimits | None): what the model can read. Default None: anything.

    Returns:
        MixtureData: the examples; of held-out datasets of their own the first
            ``validation.max_examples``, of a held-out part as many drawn at random. What is held
            out of any dataset is trained on in none, unless ``validation.keep_twins``.

    Raises:
        UserError: if a dataset cannot be built, an example cannot be read, or none
            can be trained on; for all datasets with such rows at once.
    """
    validation = sections.validation
    own_sets = {} if validation is None else validation.dataset or {}
    sets = {f"dataset.{name}": section for name, section in sections.datasets.items()}
    # Those of the training datasets first, in their order; then what is only measured.
    own_names = [name for name in {**sections.datasets, **own_sets} if name in own_sets]
    sets |= {f"validation.dataset.{name}": own_sets[name] for name in own_names}
    say_if_end_is_masked(tokenizer)
    read = _read_all(sets, tokenizer, limits)
    fingerprints = {key: fingerprint for key, (_, fingerprint, _) in read.items()}
    held_out: dict[str, Examples] = {}
    train_hashes: dict[str, np.ndarray] = {}
    held_out_hashes: dict[str, np.ndarray] = {}
    train: dict[str, Examples] = {}
    for name in sections.datasets:
        key = f"dataset.{name}"
        train[name], _, train_hashes[key] = read[key]
        if validation is not None and validation.fraction is not None:
            examples = train[name]
            kept, held = hold_out(len(examples), validation.fraction, seed=seed, name=name)
            train[name] = examples.some(kept)
            held_out[name] = examples.some(held[: validation.max_examples])
            held_out_hashes[key] = train_hashes[key][held]
            train_hashes[key] = train_hashes[key][kept]
    for name in own_names:
        assert validation is not None
        own_key = f"validation.dataset.{name}"
        examples, _, held_out_hashes[own_key] = read[own_key]
        held_out[name] = examples.some(range(len(examples))[: validation.max_examples])
    keep_twins = validation is not None and validation.keep_twins
    for key, kept in without_held_out(train_hashes, held_out_hashes, keep=keep_twins).items():
        name = key.removeprefix("dataset.")
        train[name], train_hashes[key] = train[name].some(kept), train_hashes[key][kept]
    count_twins(train_hashes)
    for name, section in sections.datasets.items():
        # After the hold-out, so that a run on selected examples is measured on those of any other.
        if section.selection is not None:
            whole, key = train[name], f"dataset.{name}.selection"
            chosen = chosen_positions(key, section.selection, whole.dataset, whole.indices)
            train[name] = whole.some(chosen)
            members = repr(train[name].indices).encode()
            fingerprints[key] = blake2b(members, digest_size=8).hexdigest()
    limits_of = {name: section.max_epochs for name, section in sections.datasets.items()}
    return MixtureData(
        train=train,
        held_out=held_out,
        fingerprints=fingerprints,
        max_epochs={name: limit for name, limit in limits_of.items() if limit is not None},
        packed=[name for name, section in sections.datasets.items() if section.packed],
    )


def _read_all(
    sets: Mapping[str, DatasetSection], tokenizer: Any, limits: ModelLimits | None
) -> dict[str, tuple[Examples, str | None, np.ndarray]]:
    """Build and scan; what is wrong with the rows of one dataset does not hide that of another."""
    built: dict[str, Any] = {}
    faults: list[str] = []
    for key, section in sets.items():
        try:
            built[key] = build_dataset(key, section.builder, tokenizer)
        except BadRow as error:
            faults.append(str(error))
    read = {}
    for key, dataset in built.items():
        section = sets[key]
        skip = section.on_bad_row == "skip"
        try:
            scan = scan_examples(key, dataset, tokenizer, limits=limits, skip_bad_rows=skip)
            examples = Examples(key, dataset, scan.usable, scan.lengths, scan.responses)
            read[key] = examples, scan.fingerprint, scan.hashes
        except BadRow as error:
            faults.append(str(with_files(key, section.builder, error)))
    if faults:
        raise UserError("; also ".join(faults))
    return read
