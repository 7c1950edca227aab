# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rows of a sweep: a name and overrides each."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf
from yaml import YAMLError

from mos_tune.errors import UserError

SPECIALIST = "{specialist}"
"""Stands in a row's name and overrides for the dataset to specialise on."""

SELECTION = "{selection}"
"""Stands in a row's settings for the folder that examples were selected into."""

DATASET = "{dataset}"
"""Stands in a row's setting that is made for every dataset."""

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def read_rows(
    file: Path, datasets: Sequence[str], specialists: Sequence[str], selection: str | None = None
) -> dict[str, list[str]]:
    """Read the rows of a sweep.

    Args:
        file (Path): YAML with a name and a list of overrides for each row.
        datasets (Sequence[str]): names of all datasets. An override with ``{dataset}`` becomes one
            for each.
        specialists (Sequence[str]): some of them. A row with ``{specialist}`` becomes one row for
            each, and none if there are none.
        selection (str | None): what ``{selection}`` stands for. Default: rows that have it are left
            out.

    Returns:
        dict[str, list[str]]: the overrides by name, in the order of the file.

    Raises:
        UserError: if the file is no such YAML, or a name cannot be a folder's.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except YAMLError as error:
        raise UserError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file} must map names of rows to lists of overrides")
    rows = {}
    for key, overrides in content.items():
        name = str(key)
        if not isinstance(overrides, list) or not all(isinstance(one, str) for one in overrides):
            raise UserError(
                f"{file}: {name} must have a list of overrides, as in [scorer=null], "
                f"got {overrides!r}"
            )
        if selection is None and any(SELECTION in override for override in overrides):
            continue
        named = any(SPECIALIST in text for text in (name, *overrides))
        for specialist in specialists if named else [""]:
            row = name.replace(SPECIALIST, _in_folder(specialist))
            if not _FOLDER.fullmatch(row) or row in rows:
                raise UserError(
                    f"{file}: {row!r} must be another name: a folder of its own is called so, of "
                    "letters, digits, and . _ + -"
                )
            rows[row] = [
                _filled(
                    override,
                    {SPECIALIST: specialist, SELECTION: selection or "", DATASET: dataset},
                )
                for override in overrides
                for dataset in (datasets if DATASET in override else [""])
            ]
    return rows


def _filled(override: str, values: Mapping[str, str]) -> str:
    key, equals, value = override.partition("=")
    text = value
    for placeholder, stands_for in values.items():
        key, text = (part.replace(placeholder, stands_for) for part in (key, text))
    # A name or a path may look like a number, a list or a comment of YAML.
    return key + equals + (value if text == value else json.dumps(text, ensure_ascii=False))


def _in_folder(dataset: str) -> str:
    # A dataset's name may have blanks and any script.
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", dataset)
