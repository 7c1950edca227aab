# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""lm-eval's task manager with the paper's tasks."""

import json
import os
import tempfile
from pathlib import Path

import lm_eval.tasks
from lm_eval.tasks import TaskManager

from mos_tune.errors import UserError
from mos_tune.evaluation.tasks.configs import BenchmarkTask, benchmark_tasks, groups


def task_manager(
    data_dir: Path | None = None,
    *,
    include_path: Path | None = None,
    include_defaults: bool = True,
) -> TaskManager:
    """Returns a manager that knows lm-eval's tasks and the paper's.

    These groups are added; their tasks keep lm-eval's prompts and answer checks:

    - ``mos_mmlu``: the 57 subjects without examples, in ``mos_mmlu_mathematics``,
      ``mos_mmlu_medicine`` and ``mos_mmlu_others``. A group's accuracy is the mean over its
      subjects, each counting the same; :func:`mos_tune.evaluation.mmlu.mmlu_means` has
      the mean over questions too.
    - ``mos_gsm8k`` (one task): lm-eval's ``gsm8k_cot`` with the first five of its examples.
    - ``mos_math``: lm-eval's ``minerva_math`` with five examples, over the 7 subjects. Needs
      ``lm-eval[math]``, 0.4.7 or newer: in 0.4.5 ``minerva_math`` itself cannot be loaded.
    - ``mos_paper``: all of it.

    Args:
        data_dir: Directory that ``mos-tune prepare benchmarks`` has filled, to be read
            in place of the hub; the prompts are the same. lm-eval's own tasks know nothing of it.
        include_path: Directory with configs of the user's own tasks.
        include_defaults: Whether lm-eval's own tasks are known too. It takes lm-eval seconds to
            find them (5 to 15 on two cores); the paper's alone take a tenth of a second.

    Returns:
        A task manager; the same on every rank.

    Raises:
        UserError: If a file is missing in ``data_dir`` or empty, or lm-eval lacks a task.
    """
    base_dir = Path(lm_eval.tasks.__file__).parent
    tasks = benchmark_tasks()
    for name, task in tasks.items():
        if not (base_dir / task.base).is_file():
            raise UserError(f"{name} needs lm-eval's {task.base}, which is not in {base_dir}")
        if data_dir is not None:
            _check_files(task, data_dir)
    configs = [{"task": name, **task.config(base_dir, data_dir)} for name, task in tasks.items()]
    # Files in a directory are the one way to add tasks that every lm-eval release has.
    directory = tempfile.TemporaryDirectory(prefix="mos_tune_tasks_")
    for config in (*configs, *groups()):
        name = config.get("group") or config["task"]
        (Path(directory.name) / f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")
    # lm-eval 0.4.9.2 prints where a task's config is, seen from its own folder, and fails if that
    # is elsewhere. It only compares the beginnings of paths: the detour is one that it can print.
    found = [Path(directory.name), *filter(None, [include_path])]
    detours = [os.path.relpath(path.resolve(), base_dir.resolve()) for path in found]
    manager = TaskManager(
        include_path=[str(base_dir / detour) for detour in detours],
        include_defaults=include_defaults,
    )
    # lm-eval reads a config when its task is asked for: the files live as long as the manager.
    manager.mos_tune_configs = directory
    return manager


def _check_files(task: BenchmarkTask, data_dir: Path) -> None:
    for path in task.files(data_dir).values():
        if not path.is_file() or path.stat().st_size == 0:
            found = "an empty" if path.is_file() else "no"
            raise UserError(
                f"data_dir={data_dir} has {found} {path.relative_to(data_dir.absolute())}; fill a "
                "directory with `mos-tune prepare benchmarks --output-dir DIR`"
            )
