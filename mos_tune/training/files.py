# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the files that a run reads and writes beside its data, before the model is loaded."""

import tempfile
from pathlib import Path

from omegaconf import DictConfig

from mos_tune.base_checkpoint import check_base_checkpoint
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
    check_base_checkpoint(cfg.checkpointer)


def _check_output_dir(output_dir: str) -> None:
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise UserError(f"output_dir {output_dir} cannot be written: {error.strerror}") from error
