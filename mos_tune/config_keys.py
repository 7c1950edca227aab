# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The config's top-level keys: whether anything reads them."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mos_tune.errors import UserError


def check_keys(cfg: DictConfig, known: Collection[str]) -> None:
    """Check that every top-level key is read, by the recipe or by another value as ``${key}``.

    Args:
        cfg (DictConfig): the whole config.
        known (Collection[str]): what the recipe reads.

    Raises:
        UserError: naming all that are not, and what each is most like.
    """
    unknown = [str(key) for key in cfg if key not in known and not _is_used(cfg, key)]
    if unknown:
        are = "are keys" if len(unknown) > 1 else "is a key"
        named = ", ".join(f"{key}{_nearest(cfg, key, known)}" for key in unknown)
        raise UserError(f"{named} {are} that nothing reads, nor another value by ${{...}}")


def _is_used(cfg: DictConfig, key: Any) -> bool:
    without = cfg.copy()
    del without[key]
    whole: Any = OmegaConf.to_container(cfg, resolve=True)
    del whole[key]
    try:
        # As text, since nan is not nan.
        return repr(OmegaConf.to_container(without, resolve=True)) != repr(whole)
    except OmegaConfBaseException:
        return True


def _nearest(cfg: DictConfig, key: str, known: Collection[str]) -> str:
    # A key at the wrong place, such as lr, or a misspelt one.
    sections = {str(name): one for name, one in cfg.items() if OmegaConf.is_dict(one)}
    near = [f"{name}.{key}" for name, one in sections.items() if key in one]
    near = near or get_close_matches(key, known, n=1)
    return f" (the nearest is {' or '.join(near)})" if near else ""
