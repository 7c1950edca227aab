# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The runs of a sweep: where each writes, and with which settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mos_tune.errors import UserError
from mos_tune.files import write_whole
from mos_tune.metrics.curves import NotBegun, read_curves
from mos_tune.overrides import read_config
from mos_tune.sections import read_datasets

CONFIG = "config.yaml"
"""The run's whole config, in its folder."""

_UNREADABLE = (ValueError, OmegaConfBaseException, YAMLError)


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One row with one seed."""

    row: str
    """The row's name."""

    seed: int
    """The config's ``seed``."""

    directory: Path
    """The config's ``output_dir``."""

    config: DictConfig
    """Base config and overrides together, with ``sweep.recipe`` and ``sweep.processes``."""

    def has_ended(self) -> bool:
        """Tell whether the run has come to its end."""
        try:
            return read_curves(self.directory / "mixture.jsonl").finished
        except NotBegun:
            return False

    def command(self) -> list[str]:
        """Give the arguments of ``mos-tune``."""
        processes, recipe = str(self.config.sweep.processes), self.config.sweep.recipe
        config = str(self.directory / CONFIG)
        # What has begun and not ended either goes on from its checkpoint, or begins again.
        again = [] if self.config.get("checkpoint") is not None else ["overwrite=True"]
        return ["run", "--nproc_per_node", processes, recipe, "--config", config, *again]

    def write_config(self) -> None:
        """Write the config that :meth:`command` names.

        Raises:
            UserError: if the folder has a run with other settings.
        """
        file = self.directory / CONFIG
        # A run that has not made its first step may be mended.
        if (self.directory / "mixture.jsonl").exists():
            if not file.exists():
                raise UserError(f"{self.directory} has a run that is not of a sweep")
            _check_same(self.directory, *map(_settings, (OmegaConf.load(file), self.config)))
        write_whole(file, OmegaConf.to_yaml(self.config))


def dataset_names(base: Path, overrides: Sequence[str]) -> list[str]:
    """Give the names of the datasets that all rows share.

    Raises:
        UserError: if config or overrides cannot be read, or a dataset's section is wrong.
    """
    try:
        config = read_config(["--config", str(base), *overrides])
        read_datasets(config.get("dataset"))
    except _UNREADABLE as error:
        raise UserError(f"{base}: {error}") from error
    return list(config.dataset)


def planned_runs(
    base: Path,
    rows: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    *,
    overrides: Sequence[str],
    recipe: str,
    processes: int,
    output: Path,
) -> list[PlannedRun]:
    """Plan the runs, row by row, and check that none is in the way of another sweep's.

    Args:
        base (Path): the config that all rows share.
        rows (Mapping[str, Sequence[str]]): overrides by name.
        seeds (Sequence[int]): of every row.
        overrides (Sequence[str]): for all rows; a row's own come after them.
        recipe (str): what ``mos-tune run`` starts.
        processes (int): of each run.
        output (Path): the runs write to ``output/ROW/seed_N``.

    Returns:
        list[PlannedRun]: the runs, their configs written.

    Raises:
        UserError: if an override cannot be read, a dataset's section is wrong or its selection
            missing, or a run with other settings is there already.
    """
    runs = []
    for row, of_row in rows.items():
        for seed in seeds:
            directory = output / row / f"seed_{seed}"
            own = [*overrides, *of_row, f"seed={seed}", f"output_dir={directory}"]
            try:
                config = read_config(["--config", str(base), *own])
                read_datasets(config.get("dataset"))
            except _UNREADABLE as error:
                raise UserError(f"row {row} on {base}: {error}") from error
            if config.get("checkpoint") is not None:
                config.resume_from_checkpoint = True
            config.sweep = {"recipe": recipe, "processes": processes}
            runs.append(PlannedRun(row=row, seed=seed, directory=directory, config=config))
    for run in runs:
        run.write_config()
    return runs


def _settings(config: Any) -> dict[str, Any]:
    return dict(_flat(OmegaConf.to_container(config)))


def _flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield key, node
        return
    for name, child in node.items():
        yield from _flat(child, f"{key}.{name}" if key else str(name))


def _check_same(directory: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for key in {**there, **here}:
        if there.get(key) != here.get(key):
            raise UserError(
                f"{directory} has a run with {key} {there.get(key)}, and this sweep has "
                f"{here.get(key)}; give another --output, or delete that folder"
            )
