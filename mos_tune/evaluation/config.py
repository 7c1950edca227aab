# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the evaluation's config, before questions and weights are loaded."""

from importlib.metadata import version
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from packaging.version import Version

from mos_tune.components import build
from mos_tune.config_keys import check_keys
from mos_tune.errors import UserError, check_whole

OLDEST_LM_EVAL = "0.4.5"

_REQUIRED = (
    "model tokenizer checkpointer device dtype seed tasks limit max_seq_length batch_size quantizer"
).split()

_OPTIONAL = (
    "add_bos_token apply_chat_template cudnn_deterministic_mode data_dir enable_kv_cache "
    "fewshot_as_multiturn gen_kwargs include_path log_level log_samples name num_fewshot "
    "output_dir system_instruction"
).split()


def check_config(cfg: DictConfig) -> None:
    """Check what can be checked by reading the config alone.

    Args:
        cfg (DictConfig): the recipe's config.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    installed = version("lm-eval")
    if Version(installed) < Version(OLDEST_LM_EVAL):
        raise UserError(
            f"lm-eval {installed} is installed, {OLDEST_LM_EVAL} or newer is needed; "
            "pip install -e '.[eval]'"
        )
    check_keys(cfg, {*_REQUIRED, *_OPTIONAL})
    missing = [key for key in _REQUIRED if key not in cfg]
    if missing:
        raise UserError(f"the config lacks {', '.join(missing)}")
    if not OmegaConf.is_list(cfg.tasks) or not cfg.tasks:
        raise UserError(f"tasks is {cfg.tasks}; expected a list, such as tasks=[mmlu]")
    for key in ("batch_size", "max_seq_length"):
        check_whole(key, cfg[key])
    for key in ("limit", "num_fewshot"):
        if cfg.get(key) is not None:
            check_whole(key, cfg[key], 1 if key == "limit" else 0)
    for key in ("fewshot_as_multiturn", "system_instruction"):
        if cfg.get(key) and not cfg.get("apply_chat_template", False):
            raise UserError(f"{key} is {cfg[key]}, which needs apply_chat_template: True")


def check_vocabulary(model: DictConfig, tokenizer: Any, max_seq_length: int) -> None:
    """Check that model, tokenizer and length go together, without memory for the model.

    Args:
        model (DictConfig): the config's section.
        tokenizer (Any): the one built from the config.
        max_seq_length (int): as in the config.

    Raises:
        UserError: if the tokenizer has tokens that the model has no embedding for, or texts may be
            longer than the model's positions.
    """
    with torch.device("meta"):
        built = build("model", model)
    rows = built.tok_embeddings.num_embeddings
    # torchtune's Qwen2 tokenizer does not tell.
    tokens = getattr(tokenizer, "vocab_size", 0)
    if tokens > rows:
        raise UserError(
            f"tokenizer has {tokens} tokens, but the model's embedding has {rows}; is it the "
            "tokenizer of this checkpoint?"
        )
    longest = getattr(built, "max_seq_len", max_seq_length)
    if not 1 < max_seq_length <= longest:
        raise UserError(
            f"max_seq_length is {max_seq_length}; the model takes from 2 to {longest} tokens"
        )
