# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every logger that is installed, with names that one or another is particular about."""

import subprocess
import sys
from importlib.util import find_spec

import pytest
from helpers.runs import config, mos_tune_run

from mos_tune.errors import UserError
from mos_tune.training.loggers import check_names

NAMES = {"law (en)": "count", "a, b #1": "copy", "数学": "sort", "p3-v1_2:nli": "reverse"}
LOGGERS = "torchtune.training.metric_logging."
PACKAGES = {
    "DiskLogger": "torchtune",
    "StdoutLogger": "torchtune",
    "TensorBoardLogger": "tensorboard",
    "WandBLogger": "wandb",
    "CometLogger": "comet_ml",
    "MLFlowLogger": "mlflow",
}
INSTALLED = [name for name, package in PACKAGES.items() if find_spec(package)]


def logged(logger, run):
    """The last value of each metric, as the logger's own files or servers have it."""
    folder = run.directory / "logs"
    if logger in ("DiskLogger", "StdoutLogger"):
        text = run.output if logger == "StdoutLogger" else (folder / "log.txt").read_text()
        lines = [line for line in text.splitlines() if line.startswith("Step ")]
        return "\n".join(lines)
    if logger == "TensorBoardLogger":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (events,) = folder.glob("run_0_*")
        accumulator = EventAccumulator(str(events))
        accumulator.Reload()
        return accumulator.Tags()["tensors"]
    if logger == "MLFlowLogger":
        import mlflow

        client = mlflow.MlflowClient(folder.as_uri())
        (experiment,) = client.search_experiments(filter_string="name = 'mine'")
        (one,) = client.search_runs([experiment.experiment_id])
        assert one.data.params["dataset.law _en_.skill"] == "count"
        return list(one.data.metrics)
    suffix = "*.wandb" if logger == "WandBLogger" else "*.zip"
    (file,) = folder.rglob(suffix)
    assert file.stat().st_size > 1000
    return None


OPTIONS = {
    "DiskLogger": {"log_dir": "${output_dir}/logs", "filename": "log.txt"},
    "StdoutLogger": {},
    "TensorBoardLogger": {"log_dir": "${output_dir}/logs"},
    "WandBLogger": {"log_dir": "${output_dir}/logs", "mode": "offline"},
    "CometLogger": {"online": False, "offline_directory": "${output_dir}/logs", "log_code": False},
    "MLFlowLogger": {"experiment_name": "mine", "tracking_uri": "${output_dir}/logs"},
}


@pytest.mark.parametrize("logger", INSTALLED)
def test_it_takes_the_names_of_all_metrics(logger, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    settings = config(tmp_path) | {"max_steps_per_epoch": 4, "batch_size": 8}
    settings["dataset"] = {name: settings["dataset"][skill] for name, skill in NAMES.items()}
    settings["metric_logger"] = {"_component_": LOGGERS + logger, **OPTIONS[logger]}
    if logger == "MLFlowLogger":
        settings["metric_logger"]["tracking_uri"] = (tmp_path / "run" / "logs").as_uri()
    run = mos_tune_run(settings, processes=1)
    found = logged(logger, run)
    if found is None:
        return
    for name in NAMES:
        loss = f"loss/{name}"
        if logger == "MLFlowLogger":
            name = {"law (en)": "law _en_", "a, b #1": "a_ b _1", "p3-v1_2:nli": "p3-v1_2_nli"}.get(
                name, name
            )
            loss = f"train_loss/{name}"
        for metric in (
            loss,
            f"val_loss/{name}",
            f"mixture/probability/{name}",
            f"mixture/epochs/{name}",
            f"mixture/reward/{name}",
        ):
            assert metric in found
    assert "loss" in found and "val_loss/mean" in found


def test_two_names_that_are_one_are_refused():
    names = ["law (en)", "copy", "law [en]"]
    with pytest.raises(
        UserError, match=r"dataset.law \[en\] must .*dataset.law \(en\) are both law"
    ):
        check_names(LOGGERS + "MLFlowLogger", names)
    check_names(LOGGERS + "TensorBoardLogger", names)


@pytest.mark.parametrize("logger", ["DiskLogger", "StdoutLogger"])
def test_a_name_that_the_encoding_does_not_have_is_refused(logger):
    code = (
        "import sys; from mos_tune.training.loggers import check_names\n"
        f"check_names({LOGGERS + logger!r}, ['copy', '\\u6570\\u5b66'])"
    )
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)} | ascii,
        capture_output=True,
        text=True,
    )
    assert "must have another name for metric_logger" in done.stderr.splitlines()[-1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONUTF8": "1"},
        capture_output=True,
    )
    assert done.returncode == 0
