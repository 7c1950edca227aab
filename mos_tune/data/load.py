# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The datasets of a run: built, split and checked before the model is loaded."""

from hashlib import blake2b
from typing import Any

import numpy as np
from omegaconf import DictConfig

from mos_tune.data.blank_answers import say_if_end_is_masked
from mos_tune.data.build import build_dataset, with_files
from mos_tune.data.examples import Examples, MixtureData
from mos_tune.data.limits import ModelLimits
from mos_tune.data.scan import scan_examples
from mos_tune.data.selection_file import chosen_positions
from mos_tune.data.twins import count_twins, without_held_out
from mos_tune.errors import BadRow, UserError
from mos_tune.mixture import hold_out

MIXTURE_OPTIONS = ("max_epochs", "packed", "selection", "on_bad_row")
"""What a dataset's section may have beside its builder's own options."""


def load_data(
    cfg: DictConfig, tokenizer: Any, seed: int, limits: ModelLimits | None = None
) -> MixtureData:
    """Build every dataset of ``cfg.dataset`` and ``cfg.validation``, and read every example once.

    Args:
        cfg (DictConfig): the run's config, checked.
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
    validation = cfg.get("validation")
    own_sets = {} if validation is None else validation.get("dataset") or {}
    sections: dict[str, DictConfig] = {}
    for name, section in cfg.dataset.items():
        sections[f"dataset.{name}"] = section
        if name in own_sets:
            sections[f"validation.dataset.{name}"] = own_sets[name]
    say_if_end_is_masked(tokenizer)
    read = _read_all(sections, tokenizer, limits)
    fingerprints = {key: fingerprint for key, (_, fingerprint, _) in read.items()}
    held_out: dict[str, Examples] = {}
    train_hashes: dict[str, np.ndarray] = {}
    held_out_hashes: dict[str, np.ndarray] = {}
    train: dict[str, Examples] = {}
    for name in cfg.dataset:
        key, own_key = f"dataset.{name}", f"validation.dataset.{name}"
        train[name], _, train_hashes[key] = read[key]
        if own_key in read:
            examples, _, held_out_hashes[own_key] = read[own_key]
            held_out[name] = examples.some(range(len(examples))[: validation.max_examples])
        elif validation is not None:
            examples = train[name]
            kept, held = hold_out(len(examples), validation.fraction, seed=seed, name=name)
            train[name] = examples.some(kept)
            held_out[name] = examples.some(held[: validation.max_examples])
            held_out_hashes[key] = train_hashes[key][held]
            train_hashes[key] = train_hashes[key][kept]
    keep_twins = validation is not None and validation.get("keep_twins", False)
    for key, kept in without_held_out(train_hashes, held_out_hashes, keep=keep_twins).items():
        name = key.removeprefix("dataset.")
        train[name], train_hashes[key] = train[name].some(kept), train_hashes[key][kept]
    count_twins(train_hashes)
    max_epochs: dict[str, int] = {}
    packed: list[str] = []
    for name, section in cfg.dataset.items():
        if section.get("max_epochs") is not None:
            max_epochs[name] = section.max_epochs
        if section.get("packed"):
            packed.append(name)
        # After the hold-out, so that a run on selected examples is measured on those of any other.
        if section.get("selection") is not None:
            whole, key = train[name], f"dataset.{name}.selection"
            chosen = chosen_positions(key, section.selection, whole.dataset, whole.indices)
            train[name] = whole.some(chosen)
            members = repr(train[name].indices).encode()
            fingerprints[key] = blake2b(members, digest_size=8).hexdigest()
    return MixtureData(train, held_out, fingerprints, max_epochs, packed)


def _read_all(
    sections: dict[str, DictConfig], tokenizer: Any, limits: ModelLimits | None
) -> dict[str, tuple[Examples, str | None, np.ndarray]]:
    """Build and scan; what is wrong with the rows of one dataset does not hide that of another."""
    built: dict[str, tuple[Any, DictConfig, bool]] = {}
    faults: list[str] = []
    for key, whole_section in sections.items():
        # They are the mixture's, so the builder does not get to see them.
        section = whole_section.copy()
        skip = section.pop("on_bad_row", "stop") == "skip"
        for option in MIXTURE_OPTIONS if key.startswith("dataset.") else ():
            section.pop(option, None)
        try:
            built[key] = build_dataset(key, section, tokenizer), section, skip
        except BadRow as error:
            faults.append(str(error))
    read = {}
    for key, (dataset, section, skip) in built.items():
        try:
            usable, lengths, fingerprint, hashes = scan_examples(
                key, dataset, tokenizer, limits=limits, skip_bad_rows=skip
            )
            read[key] = Examples(key, dataset, usable, lengths), fingerprint, hashes
        except BadRow as error:
            faults.append(str(with_files(key, section, error)))
    if faults:
        raise UserError("; also ".join(faults))
    return read
