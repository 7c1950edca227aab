# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a run leaves about its mixture: two files, scalars, a picture."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from torch import Tensor

from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.files import write_whole

LogDict = Callable[[dict[str, float], int], None]


class MixtureRecord:
    """Write ``mixture.jsonl``, ``examples.jsonl`` if asked for, metrics, and ``mixture.png``.

    Only rank 0 writes; the other ranks' records do nothing. A line is written whole, at once.

    Args:
        names (Sequence[str]): the datasets' names.
        output_dir (Path): made if missing.
        log_dict (LogDict | None): a metric logger's, called on rank 0. Default None.
        log_examples (bool): write every step's examples. Default False.
    """

    def __init__(
        self,
        names: Sequence[str],
        output_dir: Path,
        log_dict: LogDict | None = None,
        *,
        log_examples: bool = False,
    ) -> None:
        self._names = list(names)
        self._writes = get_world_size_and_rank()[1] == 0
        self._log_dict = log_dict if self._writes else None
        self._mixture: TextIO | None = None
        self._examples: TextIO | None = None
        self._path = output_dir / "mixture.jsonl"
        self._examples_path = output_dir / "examples.jsonl" if log_examples else None

    def truncate_after(self, step: int) -> None:
        """Go on with the files of a run that is resumed, less what it wrote after ``step``."""
        if self._writes:
            for path in filter(None, (self._path, self._examples_path)):
                _truncate_after(path, step)
            self._open("a")

    def start(
        self,
        sizes: Mapping[str, int],
        draws: Mapping[str, int],
        probabilities: Tensor,
        *,
        unit: str = "sequences",
        lengths: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Start the files: what an earlier run left in ``output_dir`` stays until here.

        Args:
            sizes (Mapping[str, int]): training examples of each dataset.
            draws (Mapping[str, int]): draws in one pass over it: as many, or its packs.
            probabilities (Tensor): the prior, shape ``[N]``.
            unit (str): what a probability is a share of. Default: of draws.
            lengths (Mapping[str, Mapping[str, float]] | None): mean length of a draw by unit and
                dataset, from which shares of the other units follow. Default None: not known.
        """
        if self._writes:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._open("w")
        self._event(
            "start",
            0,
            names=self._names,
            sizes=sizes,
            draws_per_epoch=draws,
            unit=unit,
            lengths=lengths or {},
            probabilities=self._named(probabilities),
        )

    def examples(self, step: int, examples: list[tuple[str, int]]) -> None:
        """Write one step's global batch, in order: dataset name and index in the dataset."""
        _write_line(self._examples, {"step": step, "examples": examples})

    def training(
        self, step: int, losses: Tensor, probabilities: Tensor, epochs: Mapping[str, float]
    ) -> None:
        """Log losses (nan: nothing was drawn), mixture and passes."""
        drawn = {name: loss for name, loss in self._named(losses).items() if loss == loss}
        mixture = self._named(probabilities)
        self._log(step, "loss", drawn)
        self._log(step, "mixture/probability", mixture)
        self._log(step, "mixture/epochs", epochs)

    def used_up(self, step: int, names: list[str], probabilities: Tensor) -> None:
        """Write which datasets can be drawn no more, and the mixture of the others."""
        self._event("used_up", step, datasets=names, probabilities=self._named(probabilities))

    def stopped(self, step: int, best: Mapping[str, int], probabilities: Tensor) -> None:
        """Write which datasets are stopped early, the step of each one's best, and the mixture."""
        self._event("early_stop", step, best=best, probabilities=self._named(probabilities))

    def scheduled(self, step: int, probabilities: Tensor) -> None:
        """Write the mixture of the step to come, where it changes from step to step."""
        self._event("scheduled", step, probabilities=self._named(probabilities))

    def frozen(self, step: int, probabilities: Tensor) -> None:
        """Write the mixture that stays from here on."""
        self._event("frozen", step, probabilities=self._named(probabilities))

    def learned(
        self,
        step: int,
        probabilities: Tensor,
        rewards: Tensor,
        raw_rewards: Tensor,
        counts: Mapping[str, Any],
        seconds: float,
        columns: Sequence[str] = (),
    ) -> None:
        """Write a scorer update.

        Rewards of several ``columns``, shape ``[N, m]``, are written by their first one, and all as
        they were measured under ``signals``.
        """
        signals = {}
        if columns:
            named = zip(columns, raw_rewards.unbind(dim=1), strict=True)
            signals = {"signals": {column: self._named(values) for column, values in named}}
            rewards, raw_rewards = rewards[:, 0], raw_rewards[:, 0]
        self._event(
            "update",
            step,
            probabilities=self._named(probabilities),
            rewards=self._named(rewards),
            raw_rewards=self._named(raw_rewards),
            **signals,
            **counts,
            seconds=seconds,
        )
        self._log(step, "mixture/reward", self._named(rewards))

    def validation(
        self,
        step: int,
        names: Sequence[str],
        losses: Tensor,
        mean: float,
        epochs: Mapping[str, float],
    ) -> None:
        """Write held-out losses in nats per response token, their mean, and the passes so far.

        Args:
            step (int): optimizer steps made.
            names (Sequence[str]): the held-out sets: of the datasets, and others.
            losses (Tensor): theirs, in that order.
            mean (float): by the weights of the objective.
            epochs (Mapping[str, float]): passes over each dataset that is trained on.
        """
        named = dict(zip(names, losses.tolist(), strict=True))
        self._event("validation", step, losses=named, mean=mean, epochs=epochs)
        self._log(step, "val_loss", named | {"mean": mean})

    def end(self, step: int, average_probabilities: Tensor, counts: Mapping[str, Any]) -> None:
        """Write the last line, and draw the picture where matplotlib is installed."""
        average = self._named(average_probabilities)
        self._event("end", step, average_probabilities=average, **counts)
        for file in (self._mixture, self._examples):
            if file is not None:
                file.close()
        if self._mixture is not None:
            _draw(self._path)

    def _open(self, mode: str) -> None:
        self._mixture = _text_file(self._path, mode)
        if self._examples_path is not None:
            self._examples = _text_file(self._examples_path, mode)

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self._names, values.tolist(), strict=True))

    def _event(self, name: str, step: int, **fields: Any) -> None:
        _write_line(self._mixture, {"event": name, "step": step, **fields})

    def _log(self, step: int, prefix: str, values: Mapping[str, float]) -> None:
        if self._log_dict is not None and values:
            self._log_dict({f"{prefix}/{name}": value for name, value in values.items()}, step)


def _draw(mixture_jsonl: Path) -> None:
    try:
        # Imported here: matplotlib is of use to one rank only, and only now.
        from mos_tune.metrics.picture import draw_mixture
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        log_rank_zero(
            "no mixture.png was drawn, for matplotlib is not installed; where it is, "
            f"`mos-tune picture {mixture_jsonl}` draws it"
        )
    else:
        draw_mixture(mixture_jsonl, mixture_jsonl.with_name("mixture.png"))


def _text_file(path: Path, mode: str) -> TextIO:
    return cast(TextIO, open(path, mode, encoding="utf-8"))


def _truncate_after(path: Path, step: int) -> None:
    if path.exists():
        with open(path, encoding="utf-8", errors="replace") as old:
            write_whole(path, (line for line in old if _is_up_to(line, step)))


def _is_up_to(line: str, step: int) -> bool:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError:  # the last line of a killed run
        return False
    return fields["step"] <= step and fields.get("event") != "end"


def _write_line(file: TextIO | None, fields: Mapping[str, Any]) -> None:
    if file is not None:
        file.write(json.dumps(fields, ensure_ascii=False) + "\n")
        file.flush()
