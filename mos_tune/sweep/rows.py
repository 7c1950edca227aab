# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rows of a sweep: a name and overrides each, some with a selection of examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from mos_tune.errors import UserError

SPECIALIST = "{specialist}"
"""Stands in a row's name and settings for the dataset to specialise on."""

SELECTION = "{selection}"
"""Stands in a row's settings for the folder that examples were selected into."""

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """What one row has of its own."""

    overrides: list[str]
    """Overrides of the config that all rows share."""

    dataset: Path | None = None
    """A config by ``recipes/select_examples.py``, of which the row takes the datasets."""


def read_rows(
    file: Path, specialists: Sequence[str], selection: str | None = None
) -> dict[str, SweepRow]:
    """Reads the rows of a sweep.

    Args:
        file: YAML with a list of overrides for each name of a row, or a mapping with ``overrides``
            and ``dataset``.
        specialists: Names of datasets. A row with ``{specialist}`` becomes one row for each, and
            none if there are none.
        selection: What ``{selection}`` stands for. Default: rows that have it are left out.

    Returns:
        The rows by name, in the order of the file.

    Raises:
        UserError: If the file is no such YAML, or a name cannot be a folder's.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except YAMLError as error:
        raise UserError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file} must map names of rows to lists of overrides")
    rows: dict[str, SweepRow] = {}
    for key, settings in content.items():
        name = str(key)
        overrides, dataset = _settings(file, name, settings)
        texts = (name, dataset, *overrides)
        if selection is None and any(SELECTION in text for text in texts):
            continue
        named = any(SPECIALIST in text for text in texts)
        for specialist in specialists if named else [""]:
            row = name.replace(SPECIALIST, _in_folder(specialist))
            if not _FOLDER.fullmatch(row) or row in rows:
                raise UserError(
                    f"{file}: {row!r} must be another name: a folder of its own is called so, of "
                    "letters, digits, and . _ + -"
                )
            filled = [
                text.replace(SPECIALIST, specialist).replace(SELECTION, selection or "")
                for text in (dataset, *overrides)
            ]
            rows[row] = SweepRow(
                overrides=filled[1:], dataset=Path(filled[0]) if filled[0] else None
            )
    return rows


def _settings(file: Path, name: str, settings: Any) -> tuple[list[str], str]:
    overrides: Any = settings
    dataset: Any = ""
    if isinstance(settings, dict):
        unknown = [key for key in settings if key not in ("dataset", "overrides")]
        if unknown:
            raise UserError(
                f"{file}: {name}.{unknown[0]} is no option of a row; there are dataset, overrides"
            )
        overrides, dataset = settings.get("overrides", []), settings.get("dataset")
        if not isinstance(dataset, str) or not dataset:
            raise UserError(
                f"{file}: {name}.dataset must be the path of a config that "
                f"recipes/select_examples.py has written, got {dataset!r}"
            )
    if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
        raise UserError(
            f"{file}: {name} must have a list of overrides, as in [scorer=null], got {overrides!r}"
        )
    return overrides, dataset


def _in_folder(dataset: str) -> str:
    # A dataset's name may have blanks and any script.
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", dataset)
