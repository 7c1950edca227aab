# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""``output_dir``: one run at a time, and none that is taken for another."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torchtune.config._utils import _get_component_from_path
from torchtune.training.metric_logging import DiskLogger, TensorBoardLogger

from mos_tune import endings
from mos_tune.distributed import gather, get_world_size_and_rank
from mos_tune.errors import UserError
from mos_tune.metrics.curves import NotBegun, read_curves
from mos_tune.sections import Sections
from mos_tune.training.lease import Holder, Lease, started

_RECORDS = ("mixture.jsonl", "examples.jsonl", "mixture.png")
_EPOCH = r"epoch_\d+"


class OutputFolder:
    """Keep other runs out of ``output_dir``, and this one out of what another has left there.

    A run's own are ``mixture.jsonl``, ``examples.jsonl``, ``mixture.png``, ``epoch_N``,
    ``recipe_state``, ``checkpoints/step_N`` and the files of torchtune's disk and TensorBoard
    loggers. Nothing else is ever removed. All methods are called on all ranks alike; rank 0 alone
    looks and acts.

    Args:
        cfg (DictConfig): the run's config, checked; the folder is there.
        sections (Sections): its sections that are ours.
    """

    def __init__(self, cfg: DictConfig, sections: Sections) -> None:
        self._cfg = cfg
        self._folder = Path(cfg.output_dir)
        self._exports = Path(cfg.checkpointer.output_dir)
        self._overwrites = sections.overwrite
        self._resumes: bool = cfg.get("resume_from_checkpoint", False)
        self._has_section = sections.checkpoint is not None
        self._launch_file = self._folder / ".launch"
        self._lease = Lease(self._folder / ".lease")

    @property
    def is_lost(self) -> bool:
        """Whether another run has taken the folder."""
        return self._lease.lost

    def enter(self) -> None:
        """Take the folder's lease, and see whether the run may write there.

        Raises:
            UserError: on every rank, if another run is there, or one has left what this one would
                mix with or remove unasked.
        """
        _on_rank_zero(self._enter)

    def begin(self, epochs: int) -> None:
        """Remove what an earlier run has left, unless this one resumes it.

        Args:
            epochs (int): of the whole run; exports of later ones are none of it.

        Raises:
            UserError: on every rank, if something cannot be removed.
        """
        _on_rank_zero(lambda: self._begin(epochs))

    def finish(self) -> None:
        """Note that the run has ended, or has not begun, and let others in."""
        if get_world_size_and_rank()[1] == 0:
            self._launch_file.unlink(missing_ok=True)
        self._lease.release()

    def _enter(self) -> None:
        self._lease.take()
        try:
            self._check()
        except BaseException:
            self._lease.release()
            raise

    def _check(self) -> None:
        """Refuse what an earlier run has left, if this one neither resumes nor overwrites it."""
        if self._overwrites and not self._is_own_restart():
            self._check_reads_nothing_doomed()
            return
        begun, steps = self._begun(), self._steps()
        if not begun or (self._is_own_restart() and not steps):
            return
        if not self._resumes:
            resumes = ""  # without step checkpoints, torchtune's own resume needs more than True
            if steps:
                section = "" if self._has_section else "a checkpoint section and "
                resumes = f"{section}True {'resumes' if self._has_section else 'resume'} it, "
            raise UserError(
                f"resume_from_checkpoint is False, but {self._folder} has a run "
                f"({', '.join(begun)}): {resumes}overwrite=True removes it, another output_dir "
                "keeps it"
            )
        if self._has_section and not steps and self._has_ended():
            raise UserError(
                f"resume_from_checkpoint is True, but the run in {self._folder} has ended and left "
                "no checkpoint: overwrite=True removes it, another output_dir keeps it"
            )

    def _begin(self, epochs: int) -> None:
        resumes = self._resumes and (not self._has_section or bool(self._steps()))
        try:
            if self._overwrites and not self._is_own_restart():
                self._remove(*self._left(), *self._all_steps())
            elif resumes:
                exports = _matching(self._exports, _EPOCH)
                self._remove(*(one for one in exports if _number(one) >= epochs))
            elif self._begun():
                self._remove(*self._left())
            self._launch_file.write_text(_launch(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"output_dir {self._folder} cannot be written: {error}") from error

    def _remove(self, *paths: Path) -> None:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for folder in {path.parent for path in paths} - {self._folder, self._exports}:
            if not any(folder.iterdir()):
                folder.rmdir()

    def _begun(self) -> list[str]:
        """Name what shows that a run has made steps here."""
        names = [path.name for path in self._records() if path.stat().st_size]
        names += [path.name for path in _matching(self._exports, _EPOCH)]
        if steps := self._steps():
            names.append(f"checkpoints up to step_{max(map(_number, steps))}")
        return names

    def _records(self) -> list[Path]:
        return [path for name in _RECORDS if (path := self._folder / name).is_file()]

    def _steps(self) -> list[Path]:
        return _matching(self._folder / "checkpoints", r"step_\d+")

    def _all_steps(self) -> list[Path]:
        return _matching(self._folder / "checkpoints", r"step_\d+(\.partial|\.damaged)?")

    def _left(self) -> list[Path]:
        """Give what runs have written here but step checkpoints."""
        state = _matching(self._exports / "recipe_state", r"recipe_state\.pt")
        return [*self._records(), *_matching(self._exports, _EPOCH), *state, *self._logs()]

    def _logs(self) -> list[Path]:
        section: Any = OmegaConf.to_container(self._cfg.metric_logger, resolve=True)
        logger = _get_component_from_path(section["_component_"])
        folder = Path(str(section.get("log_dir"))).resolve()
        if not isinstance(logger, type) or not folder.is_relative_to(self._folder.resolve()):
            return []
        if issubclass(logger, DiskLogger):
            name = section.get("filename")
            return _matching(folder, re.escape(name) if name else r"log_\d+\.txt")
        if issubclass(logger, TensorBoardLogger):
            return _matching(folder, r"run_\d+_\d+\.\d+|events\.out\.tfevents\..*")
        return []

    def _check_reads_nothing_doomed(self) -> None:
        doomed = [path.resolve() for path in [*self._left(), *self._all_steps()]]
        base = Path(self._cfg.checkpointer.checkpoint_dir)
        for key, value in _texts(OmegaConf.to_container(self._cfg, resolve=True)):
            for path in (one for one in (Path(value), base / value) if one.exists()):
                for one in filter(path.resolve().is_relative_to, doomed):
                    raise UserError(f"overwrite is True and removes {one}, but {key} is {value}")

    def _has_ended(self) -> bool:
        try:
            return read_curves(self._folder / "mixture.jsonl").finished
        except (NotBegun, UserError):
            return False

    def _is_own_restart(self) -> bool:
        """Whether the launcher starts again, after an error, what it has started here before."""
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            return False
        try:
            return self._launch_file.read_text(encoding="utf-8") == _launch()
        except OSError:
            return False


def _launch() -> str:
    """Name this launch; the name stays the same when the launcher starts its processes again."""
    me = Holder.this()
    launcher = os.environ.get(endings.FOLDER) or f"{os.getppid()} {started(os.getppid())}"
    return f"{me.host} {me.boot} {launcher}"


def _on_rank_zero(act: Callable[[], None]) -> None:
    said: str | None = None
    if get_world_size_and_rank()[1] == 0:
        try:
            act()
        except UserError as error:
            said = str(error)
    said = gather(said)[0]
    if said is not None:
        raise UserError(said)


def _matching(folder: Path, pattern: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if re.fullmatch(pattern, path.name)]


def _number(path: Path) -> int:
    return int(path.name.rpartition("_")[2])


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _texts(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for child in node:
            yield from _texts(child, key)
