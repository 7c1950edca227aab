# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The tasks to evaluate on, loaded before the model."""

import difflib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.tasks import TaskManager
from omegaconf import DictConfig, OmegaConf

from mos_tune.errors import UserError
from mos_tune.evaluation.tasks import task_manager


def load_tasks(cfg: DictConfig) -> Any:
    """Load all tasks and groups that the config names, with their questions.

    Args:
        cfg (DictConfig): the recipe's config.

    Returns:
        Any: what ``lm_eval.evaluator.evaluate`` takes.

    Raises:
        UserError: for an unknown task, or one without questions.
    """
    data_dir, include_path = (
        None if cfg.get(key) is None else Path(cfg[key]) for key in ("data_dir", "include_path")
    )
    if include_path is not None and not include_path.is_dir():
        raise UserError(f"include_path is {include_path}, where no folder is")
    # To find its own tasks takes lm-eval seconds.
    ours = all(str(name).startswith("mos_") for name in cfg.tasks)
    manager = task_manager(data_dir, include_path=include_path, include_defaults=not ours)
    names = _names(list(cfg.tasks), manager)
    # Some tasks shuffle while they load. These are the seeds of lm-eval's own command.
    random.seed(0)
    np.random.seed(cfg.seed)
    torch.manual_seed(cfg.seed)
    try:
        # Newer lm-eval keeps groups and tasks apart.
        load = manager.load if hasattr(manager, "load") else manager.load_task_or_group
        loaded = load(names)
    except (OSError, ValueError, StopIteration) as error:
        reason = str(error) or "a file of questions is empty"
        raise UserError(f"tasks {', '.join(names)}: {reason}") from error
    _check_complete(loaded)
    gen_kwargs = cfg.get("gen_kwargs")
    for name, task in leaves(loaded):
        if len(task.eval_docs) == 0:
            raise UserError(f"task {name} has no questions")
        if gen_kwargs is not None and task.get_config("output_type") == "generate_until":
            options = OmegaConf.to_container(gen_kwargs, resolve=True)
            task.set_config("generation_kwargs", options, update=True)
        n_shot = task.get_config("num_fewshot")
        # A task that says 0 means it, in lm-eval's own command too.
        if n_shot is None or (cfg.get("num_fewshot") is not None and n_shot != 0):
            task.set_config("num_fewshot", cfg.get("num_fewshot") or 0)
        task.set_fewshot_seed(cfg.seed)
    return loaded


def leaves(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Give all tasks by name, out of whatever groups they are in."""
    if "tasks" in loaded and "groups" in loaded:
        loaded = loaded["tasks"]
    for name, task in loaded.items():
        if isinstance(task, Mapping):
            yield from leaves(task)
        else:
            yield name, task


def _check_complete(loaded: Mapping[Any, Any]) -> None:
    # The datasets library raises StopIteration on an empty file, and lm-eval before 0.4.10 takes
    # that for the end of its list of tasks: it would score what came before.
    if not loaded:
        raise UserError("tasks: the file of questions is empty")
    for group, members in loaded.items():
        if isinstance(members, Mapping) and not isinstance(group, str):
            expected = group.config["task"]
            if len(members) < len(expected):
                raise UserError(
                    f"task group {group.group} has {len(expected)} tasks, of which {len(members)} "
                    "could be loaded; is a file of questions empty?"
                )
            _check_complete(members)


def _names(wanted: list[str], manager: TaskManager) -> list[str]:
    names: list[str] = []
    for pattern in wanted:
        matches = manager.match_tasks([pattern])
        if not matches:
            close = difflib.get_close_matches(pattern, manager.all_tasks, n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise UserError(f"tasks has {pattern!r}, which lm-eval does not know{hint}")
        names += [name for name in matches if name not in names]
    if not names:
        raise UserError("tasks is empty; name at least one of lm-eval's tasks or groups")
    return names
