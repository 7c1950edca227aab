# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixin that turns torchtune's eval recipe into ours."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from lm_eval.evaluator import evaluate
from lm_eval.utils import make_table
from omegaconf import DictConfig, OmegaConf
from torchtune import training, utils

from mos_tune.base_checkpoint import fingerprint, weight_files
from mos_tune.components import build
from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError
from mos_tune.evaluation.checkpoint import run_name, step_and_mixture
from mos_tune.evaluation.config import check_config, check_vocabulary
from mos_tune.evaluation.language_model import TorchtuneLM
from mos_tune.evaluation.mmlu import put_means
from mos_tune.evaluation.questions import load_tasks
from mos_tune.evaluation.results import metrics_by_task, tasks_by_name, write_results, write_samples
from mos_tune.evaluation.text import Text

SEAM = {
    "setup": ["self", "cfg"],
    "evaluate": ["self"],
}
"""What this builds on in the stock recipe: the method and its parameters."""

_SOFTWARE = ("mos-tune", "lm-eval", "torch", "torchtune")


class EvaluationRecipe:
    """Put before torchtune's eval recipe: ``class Mine(EvaluationRecipe, stock.SomeRecipe)``.

    The stock ``setup()`` loads the model, as it does for the stock recipe; the wrapper it makes for
    lm-eval is ours.

    Attributes:
        stock (ModuleType): the private copy of the stock recipe's module, to be set by the
            subclass.
    """

    stock: ModuleType

    # Made by the stock setup, of the class that we put in place of the stock wrapper.
    eleuther_model_wrapper: TorchtuneLM

    def __init__(self, cfg: DictConfig) -> None:
        # Not the stock __init__: it compares versions as strings and takes lm-eval 0.4.10 for
        # older than 0.4.5. What it sets besides, the stock setup() needs.
        check_config(cfg)
        self._cfg = cfg
        self.device = utils.get_device(device=cfg.device)
        self.dtype = training.get_dtype(dtype=cfg.dtype, device=self.device)
        self.logger = utils.get_logger(cfg.get("log_level", "info"))
        training.set_seed(seed=cfg.seed, debug_mode=cfg.get("cudnn_deterministic_mode"))
        self.batch_size = cfg.batch_size
        self.enable_kv_cache = cfg.get("enable_kv_cache", True)

    def setup(self, cfg: DictConfig) -> None:
        """Check everything and load the questions, then let the stock recipe load the model.

        Args:
            cfg (DictConfig): the recipe's config.

        Raises:
            UserError: if checkpoint, model, tokenizer or tasks are missing or do not fit.
        """
        build("checkpointer", cfg.checkpointer)
        tokenizer = build("tokenizer", cfg.tokenizer)
        check_vocabulary(cfg.model, tokenizer, cfg.max_seq_length)
        if cfg.get("apply_chat_template", False):
            Text(tokenizer).render([{"role": "user", "content": "Hello"}], True)
        if torch.distributed.is_torchelastic_launched():
            dist.init_process_group("gloo")
        if get_world_size_and_rank()[1] == 0:
            self._load_questions(cfg)
        vars(self.stock)["_LLMEvalWrapper"] = self._wrapper(cfg)
        vars(self.stock)["_VLMEvalWrapper"] = _refuse_images
        try:
            super().setup(cfg=cfg)  # type: ignore[misc]  # the stock recipe's, unknown to mypy
        except UserError:
            raise
        except Exception as error:  # torchtune's conversion of weights raises no subclass of it
            # What is not about weights is raised as it is.
            text = " ".join(str(error).split())
            if not text.startswith(("Error(s) in loading state_dict", "Error converting the sta")):
                raise
            raise UserError(
                f"the checkpoint in {cfg.checkpointer.checkpoint_dir} does not fit model "
                f"{cfg.model._component_}: {text[:300]}"
            ) from error

    def evaluate(self) -> None:
        """Answer all questions, write ``results.json`` and print lm-eval's table."""
        lm = self.eleuther_model_wrapper
        if lm.ranks.rank > 0:
            lm.ranks.serve()
            return
        cfg, began = self._cfg, time.monotonic()
        output = evaluate(
            lm=lm,
            task_dict=self._tasks,
            limit=cfg.get("limit"),
            log_samples=cfg.get("log_samples", False),
            system_instruction=cfg.get("system_instruction"),
            apply_chat_template=cfg.get("apply_chat_template", False),
            fewshot_as_multiturn=cfg.get("fewshot_as_multiturn", False),
        )
        lm.ranks.release()
        put_means(output)
        path = self._write(output, time.monotonic() - began)
        # Not through the logger, whose prefix would shift the first line.
        print(f"\n{make_table(output)}")
        if output.get("groups"):
            print(make_table(output, "groups"))
        print(f"{path}")

    def cleanup(self) -> None:
        """End the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _load_questions(self, cfg: DictConfig) -> None:
        """Get what is to be asked, and of what; on rank 0 alone, before the model is loaded."""
        self._origin = self._evaluated()
        self._tasks = load_tasks(cfg)

    def _wrapper(self, cfg: DictConfig) -> Callable[..., Any]:
        """Give what takes the arguments of the stock recipe's wrapper around the model."""
        return partial(TorchtuneLM, add_bos=cfg.get("add_bos_token"), seed=cfg.seed)

    def _evaluated(self) -> dict[str, Any]:
        """Give ``name``, ``checkpoint`` and ``mixture`` as ``results.json`` has them."""
        folder = Path(self._cfg.checkpointer.checkpoint_dir)
        step, mixture = step_and_mixture(folder)
        return {
            "name": self._cfg.get("name") or run_name(folder),
            "checkpoint": {
                "dir": str(folder),
                "fingerprint": fingerprint(weight_files(folder)),
                "step": step,
            },
            "mixture": mixture,
        }

    def _write(self, output: Mapping[str, Any], seconds: float) -> Path:
        cfg = self._cfg
        folder = Path(cfg.checkpointer.checkpoint_dir)
        if cfg.get("log_samples", False):
            write_samples(folder, output["samples"])
        return write_results(
            folder,
            **self._origin,
            scores=metrics_by_task(output),
            tasks=tasks_by_name(output),
            evaluation={
                "config": OmegaConf.to_container(cfg, resolve=True),
                "software": {name: version(name) for name in _SOFTWARE},
                "world_size": self.eleuther_model_wrapper.ranks.world_size,
                "seconds": seconds,
            },
        )


def _refuse_images(*args: Any, **kwargs: Any) -> None:
    raise UserError("model reads images; mos-tune's recipe evaluates models of text alone")
