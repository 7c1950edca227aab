# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The recipe that scores and selects training examples."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Subset
from torchtune import training, utils
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, padded_collate_sft
from torchtune.modules import TransformerDecoder
from tqdm import tqdm

from mos_tune.base_checkpoint import fingerprint, weight_files
from mos_tune.components import build
from mos_tune.data.examples import Examples
from mos_tune.data.load import load_data
from mos_tune.distributed import gather, get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError
from mos_tune.rewards import Probes, measuring
from mos_tune.selection.model import load_model
from mos_tune.selection.options import read_options
from mos_tune.selection.scores import Scores, response_losses
from mos_tune.selection.selected import (
    HIGHEST,
    choose_any,
    choose_hardest,
    write_config,
    write_selection,
)
from mos_tune.training.config import check_config
from mos_tune.training.files import check_files
from mos_tune.training.process_group import TIMEOUT_SECONDS

BATCHES_PER_WRITE = 16
"""Of each rank: what a killed run has to do again at most."""


class SelectionRecipe:
    """Select examples of every dataset of a training config.

    Every example that can be trained on is a candidate, held-out ones too: these depend on the seed
    of the run, which leaves them out of its selected examples. Batches are of equal length as far
    as possible, the longest first; which examples are together, and so every score, does not depend
    on the number of ranks or on interruptions.

    Args:
        cfg (DictConfig): a training config, with the section ``selection`` (see
            :class:`mos_tune.selection.options.Options`) or without.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check_config(cfg)
        for name, section in cfg.dataset.items():
            if section.get("selection") is not None:
                raise UserError(
                    f"dataset.{name}.selection is {section.selection}, but a selection is made of "
                    "all examples; leave it out"
                )
        self._cfg = cfg
        self._options = read_options(cfg)
        self._device = utils.get_device(device=cfg.device)
        if dist.is_torchelastic_launched():
            timeout = timedelta(seconds=cfg.get("timeout_seconds", TIMEOUT_SECONDS))
            dist.init_process_group(training.get_distributed_backend(cfg.device), timeout=timeout)
        self._world_size, self._rank = get_world_size_and_rank()
        self._files = ExitStack()
        self._scores: dict[str, Scores] = {}

    def setup(self, cfg: DictConfig) -> None:
        """Read all examples and what is scored already; load the model if there is work for it.

        Args:
            cfg (DictConfig): the recipe's config.

        Raises:
            UserError: for anything wrong with datasets, files, tokenizer or model.
        """
        options, scoring = self._options, self._options.scoring
        scores = options.method == "ifd"
        checked = {"output_dir": str(options.output_dir), "checkpointer": scoring.checkpointer}
        check_files(OmegaConf.create(checked))
        self._tokenizer = build("tokenizer", scoring.tokenizer)
        checkpointer = build("checkpointer", scoring.checkpointer) if scores else None
        without_validation = OmegaConf.merge(cfg, {"validation": None})
        assert isinstance(without_validation, DictConfig)
        self._data = load_data(without_validation, self._tokenizer, options.seed)
        for key, value in self._data.fingerprints.items():
            if value is None:
                raise UserError(f"{key} gives another example each time; it has no fixed selection")
        if not scores:
            return
        bos_id = getattr(self._tokenizer, "bos_id", None)
        # What begins a text where there is no token of its own for it, as in Qwen.
        self._prefix_id: int = self._tokenizer.eos_id if bos_id is None else bos_id
        if self._rank == 0:
            self._open_files()
        scored = {name: set(scores.by_index) for name, scores in self._scores.items()}
        self._scored: dict[str, set[int]] = gather(scored)[0]
        self._model: TransformerDecoder | None = None
        if any(
            not self._scored[name].issuperset(examples.indices)
            for name, examples in self._data.train.items()
        ):
            dtype = training.get_dtype(cfg.dtype, self._device)
            self._model = load_model(scoring.model, checkpointer, self._device, dtype)

    def select(self) -> None:
        """Score what has no score yet, and write selections and config."""
        options = self._options
        if options.method == "ifd" and self._model is not None:
            for name, examples in self._data.train.items():
                self._score(self._model, name, examples)
        if self._rank > 0:
            return
        folder = options.output_dir / options.method
        selections: dict[str, Path] = {}
        for name, examples in self._data.train.items():
            by_index = self._scores[name].by_index if name in self._scores else {}
            if options.method == "ifd":
                chosen = choose_hardest(examples.key, examples.indices, by_index, options.fraction)
                above = sum(by_index[index] > HIGHEST for index in examples.indices)
                best, last = by_index[chosen[0]], by_index[chosen[-1]]
                about = f", IFD {best:.3f} to {last:.3f}, {above:,} above {HIGHEST:g} left out"
            else:
                chosen = choose_any(name, examples.indices, options.fraction, options.seed)
                about = ""
            selections[name] = folder / f"{name}.jsonl"
            write_selection(selections[name], examples.dataset, chosen, by_index)
            log_rank_zero(f"{examples.key}: {len(chosen):,} of {len(examples):,} selected{about}")
        write_config(folder / "config.yaml", self._cfg, selections)
        log_rank_zero(f"{folder / 'config.yaml'} trains on them")

    def cleanup(self) -> None:
        """Close the files and end the process group."""
        self._files.close()
        if dist.is_initialized():
            dist.destroy_process_group()

    def _open_files(self) -> None:
        scoring = self._options.scoring
        settings: dict[str, Any] = {
            "model": OmegaConf.to_container(scoring.model),
            "weights": fingerprint(weight_files(Path(scoring.checkpointer.checkpoint_dir))),
            "dtype": self._cfg.dtype,
            "prefix_id": self._prefix_id,
        }
        for name, examples in self._data.train.items():
            path = self._options.output_dir / "scores" / f"{name}.jsonl"
            tokens = self._data.fingerprints[examples.key]
            scores = Scores(path, settings | {"tokens and labels": tokens})
            self._scores[name] = self._files.enter_context(closing(scores))

    def _score(self, model: TransformerDecoder, name: str, examples: Examples) -> None:
        order = self._longest_first(model, examples)
        probes = partial(
            Probes,
            collate=partial(
                padded_collate_sft,
                padding_idx=self._tokenizer.pad_id,
                ignore_idx=CROSS_ENTROPY_IGNORE_IDX,
            ),
            batch_size=self._options.batch_size,
            device=self._device,
            rank=self._rank,
            world_size=self._world_size,
        )
        size = self._options.batch_size * self._world_size * BATCHES_PER_WRITE
        bar = tqdm(total=len(order), desc=f"IFD of {examples.key}", disable=self._rank > 0)
        with measuring(model), bar:
            for first in range(0, len(order), size):
                some = order[first : first + size]
                indices = [examples.indices[position] for position in some]
                if not self._scored[name].issuperset(indices):
                    measured = probes(
                        {name: Subset(examples, some)}, {name: range(len(some))}
                    ).each(partial(response_losses, model, prefix_id=self._prefix_id))
                    if self._rank == 0:
                        pairs = zip(indices, measured.tolist(), strict=True)
                        self._scores[name].add((index, *losses) for index, losses in pairs)
                bar.update(len(some))

    def _longest_first(self, model: TransformerDecoder, examples: Examples) -> Sequence[int]:
        share = range(self._rank, len(examples), self._world_size)
        mine = {position: len(examples[position]["tokens"]) for position in share}
        lengths = {position: n for part in gather(mine) for position, n in part.items()}
        order = sorted(lengths, key=lambda position: (-lengths[position], position))
        longest, limit = lengths[order[0]], getattr(model, "max_seq_len", None)
        if limit is not None and longest > limit:
            raise UserError(
                f"{examples.key} has an example of {longest} tokens, the model that scores takes "
                f"{limit}; set tokenizer.max_seq_len to {limit}"
            )
        return order
