# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the files that a run reads and writes beside its data, before the model is loaded."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors import SafetensorError, safe_open

from mos_tune.errors import UserError


def check_files(cfg: DictConfig) -> None:
    """Check that the output can be written and that the base checkpoint's files are whole.

    Args:
        cfg (DictConfig): the run's config, checked. Files of the base checkpoint that are missing
            are left to the checkpointer, whose error names them.

    Raises:
        UserError: naming the key and the file.
    """
    _check_output_dir(cfg.output_dir)
    _check_base_checkpoint(cfg.checkpointer)


def _check_output_dir(output_dir: str) -> None:
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise UserError(f"output_dir {output_dir} cannot be written: {error.strerror}") from error


def _check_base_checkpoint(section: Mapping[str, Any]) -> None:
    folder = Path(str(section.get("checkpoint_dir")))
    config = folder / "config.json"
    if config.is_file():
        try:
            dict(json.loads(config.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"checkpointer.checkpoint_dir: {config} is damaged: {error}") from error
    files = section.get("checkpoint_files")
    if isinstance(files, str) or isinstance(files, Mapping) or files is None:
        return
    for path in (folder / str(name) for name in files):
        if path.suffix == ".safetensors" and path.is_file():
            try:
                # Reads the header alone, which tells how long the file must be.
                with safe_open(path, framework="pt"):
                    pass
            except SafetensorError as error:
                raise UserError(
                    f"checkpointer.checkpoint_files: {path} is damaged: {error}"
                ) from error
