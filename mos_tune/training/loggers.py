# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's metric loggers: whether they can run, and names of metrics that each takes."""

import locale
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torchtune.config._utils import _get_component_from_path
from torchtune.training.metric_logging import (
    CometLogger,
    DiskLogger,
    MLFlowLogger,
    StdoutLogger,
    TensorBoardLogger,
    WandBLogger,
    flatten_dict,
    save_config,
)

from mos_tune.errors import UserError

_PACKAGES = {
    CometLogger: "comet_ml",
    MLFlowLogger: "mlflow",
    TensorBoardLogger: "tensorboard",
    WandBLogger: "wandb",
}


def check_package(path: str) -> None:
    """Check that the package which a logger of torchtune's imports is installed.

    Args:
        path (str): the config's ``metric_logger._component_``.

    Raises:
        UserError: if it is not.
    """
    for kind, package in _PACKAGES.items():
        if _is(path, kind) and find_spec(package) is None:
            raise UserError(
                f"metric_logger {path} needs the package {package}, which is not installed; "
                f"pip install {package}"
            )


def check_names(path: str, names: Sequence[str]) -> None:
    """Check that a logger can tell the metrics of all datasets apart, and write them.

    Args:
        path (str): the config's ``metric_logger._component_``.
        names (Sequence[str]): of the datasets.

    Raises:
        UserError: naming the dataset that needs another name.
    """
    encoding = None
    if _is(path, DiskLogger):
        encoding = locale.getpreferredencoding(False)
    elif _is(path, StdoutLogger):
        encoding = sys.stdout.encoding
    taken: dict[str, str] = {}
    for name in names:
        try:
            name.encode(encoding or "utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"dataset.{name} must have another name for metric_logger {path}, which writes in "
                f"this machine's encoding, {encoding}; or set PYTHONUTF8=1"
            ) from error
        if not _is(path, MLFlowLogger):
            continue
        other = taken.setdefault(_mlflow_name(name), name)
        if other != name:
            raise UserError(
                f"dataset.{name} must have another name for metric_logger {path}, in which it and "
                f"dataset.{other} are both {_mlflow_name(name)}"
            )


class MetricLogger:
    """A logger of torchtune's interface, which gets names that it takes.

    MLflow alone is particular: of other characters than letters, digits and ``_ - . /`` and blanks
    it makes an error, and its folder of files has no place for both ``loss`` and ``loss/copy``.

    Args:
        logger (Any): built from the config.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._is_mlflow = isinstance(logger, MLFlowLogger)

    def __getattr__(self, name: str) -> Any:
        """Give what else the logger has."""
        return getattr(self._logger, name)

    def log(self, name: str, data: Any, step: int) -> None:
        """Log one value."""
        self._logger.log(self._name(name), data, step)

    def log_dict(self, payload: Mapping[str, Any], step: int) -> None:
        """Log several values."""
        self._logger.log_dict({self._name(name): one for name, one in payload.items()}, step)

    def log_config(self, config: DictConfig) -> None:
        """Log the run's config.

        Raises:
            UserError: if the logger cannot.
        """
        try:
            if self._is_mlflow:
                self._log_to_mlflow(config)
            else:
                self._logger.log_config(config)
        except Exception as error:  # each logger has errors of its own
            said = " ".join(str(error).split())
            path = config.metric_logger["_component_"]
            raise UserError(
                f"metric_logger {path} does not take the config: {type(error).__name__}: {said}"
            ) from error

    def _name(self, name: str) -> str:
        return _mlflow_name(name) if self._is_mlflow else name

    def _log_to_mlflow(self, config: DictConfig) -> None:
        # As torchtune does it, but that the parameters' names are made of the datasets', too.
        mlflow, run = self._logger._mlflow, self._logger._run_id
        values = flatten_dict(OmegaConf.to_container(config, resolve=True))
        params = {_mlflow_name(key): value for key, value in values.items()}
        mlflow.log_params(params, run_id=run)
        file = save_config(config)
        mlflow.log_artifact(file, artifact_path=str(file.parent).lstrip("/"), run_id=run)


def _mlflow_name(name: str) -> str:
    return re.sub(r"^loss/", "train_loss/", re.sub(r"[^/\w.\- ]", "_", name))


def _is(path: str, kind: type[Any]) -> bool:
    component = _get_component_from_path(path)
    return isinstance(component, type) and issubclass(component, kind)
