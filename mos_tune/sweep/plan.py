# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The runs of a sweep: where each writes, and with which settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torchtune.config._parse import TuneRecipeArgumentParser
from torchtune.config._utils import _merge_yaml_and_cli_args
from yaml import YAMLError

from mos_tune.errors import UserError
from mos_tune.sweep.rows import SweepRow
from mos_tune.sweep.selection import take_selection
from mos_tune.sweep.settings import first_difference

CONFIG = "config.yaml"
"""The run's whole config, in its folder."""


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
        """Tells whether the run has come to its end."""
        try:
            lines = (self.directory / "mixture.jsonl").read_text(encoding="utf-8").splitlines()
            return bool(json.loads(lines[-1])["event"] == "end")
        except (FileNotFoundError, IndexError, ValueError):  # not begun, or killed in a line
            return False

    def command(self) -> list[str]:
        """Gives the arguments of ``tune``."""
        processes, recipe = str(self.config.sweep.processes), self.config.sweep.recipe
        config = str(self.directory / CONFIG)
        return ["run", "--nproc_per_node", processes, recipe, "--config", config]

    def write_config(self) -> None:
        """Writes the config that :meth:`command` names.

        Raises:
            UserError: If the folder has a run with other settings.
        """
        file = self.directory / CONFIG
        self.directory.mkdir(parents=True, exist_ok=True)
        # A run that has not made its first step may be mended.
        if (self.directory / "mixture.jsonl").exists():
            if not file.exists():
                raise UserError(f"{self.directory} has a run that is not of a sweep")
            different = first_difference(OmegaConf.load(file), self.config)
            if different is not None:
                key, there, here = different
                raise UserError(
                    f"{self.directory} has a run with {key} {there}, and this sweep has {here}; "
                    "give another --output, or delete that folder"
                )
        file.write_text(OmegaConf.to_yaml(self.config), encoding="utf-8")


def planned_runs(
    base: Path,
    rows: Mapping[str, SweepRow],
    seeds: Sequence[int],
    *,
    overrides: Sequence[str],
    recipe: str,
    processes: int,
    output: Path,
) -> list[PlannedRun]:
    """Plans the runs, row by row, and checks that none is in the way of another sweep's.

    Args:
        base: The config that all rows share.
        rows: By name.
        seeds: Of every row.
        overrides: For all rows; a row's own come after them.
        recipe: What ``tune run`` starts.
        processes: Of each run.
        output: The runs write to ``output/ROW/seed_N``.

    Returns:
        The runs, their configs written.

    Raises:
        UserError: If an override cannot be read, a row's selection is missing or of other datasets,
            or a run with other settings is there already.
    """
    runs = []
    for row, of_row in rows.items():
        for seed in seeds:
            directory = output / row / f"seed_{seed}"
            own = [*overrides, *of_row.overrides, f"seed={seed}", f"output_dir={directory}"]
            try:
                config = _merged(base, own)
                if of_row.dataset is not None:
                    take_selection(config, of_row.dataset)
            except (UserError, ValueError, OmegaConfBaseException, YAMLError) as error:
                raise UserError(f"row {row} on {base}: {error}") from error
            if config.get("checkpoint") is not None:
                config.resume_from_checkpoint = True
            config.sweep = {"recipe": recipe, "processes": processes}
            runs.append(PlannedRun(row=row, seed=seed, directory=directory, config=config))
    for run in runs:
        run.write_config()
    return runs


def _merged(base: Path, overrides: Sequence[str]) -> DictConfig:
    parser = TuneRecipeArgumentParser()
    return _merge_yaml_and_cli_args(*parser.parse_known_args(["--config", str(base), *overrides]))
