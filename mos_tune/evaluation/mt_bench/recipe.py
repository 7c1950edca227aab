# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixin that has torchtune's eval recipe answer MT-bench's questions."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig
from tqdm import tqdm

from mos_tune.errors import UserError, check_whole
from mos_tune.evaluation.mt_bench.answering import TwoTurnAnswerer, temperature_of
from mos_tune.evaluation.mt_bench.answers import FILE_NAME, Answers
from mos_tune.evaluation.mt_bench.benchmark import DATA_DIR, Question, read_questions
from mos_tune.evaluation.recipe import EvaluationRecipe
from mos_tune.journal import Journal

MAX_NEW_TOKENS = 1024
"""Of an answer; the benchmark's own limit."""


class MTBenchRecipe(EvaluationRecipe):
    """Put before torchtune's eval recipe; takes the config of :class:`EvaluationRecipe`.

    The questions are in ``mt_bench/`` of ``data_dir`` (null: ``data/benchmarks``). Of
    ``gen_kwargs``, ``max_gen_toks`` takes the place of ``MAX_NEW_TOKENS``. ``limit`` asks the first
    questions alone. Chat template and temperatures are the benchmark's matter: what the config
    says of them, of tasks and of shots is lm-eval's alone.

    Rank 0 knows the questions and writes ``mt_bench_answers.jsonl`` into the checkpoint's folder,
    after every batch; the other ranks answer what it hands out.
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self._journal: Journal | None = None
        options = dict(cfg.get("gen_kwargs") or {})
        self._max_new_tokens = options.pop("max_gen_toks", MAX_NEW_TOKENS)
        if options:
            raise UserError(
                f"gen_kwargs has {', '.join(options)}; of MT-bench's answers only max_gen_toks can "
                "be changed"
            )
        check_whole("gen_kwargs.max_gen_toks", self._max_new_tokens)

    def evaluate(self) -> None:
        """Answer the questions that have no answer yet."""
        answerer = cast(TwoTurnAnswerer, self.eleuther_model_wrapper)
        ranks = answerer.ranks
        if ranks.rank > 0:
            ranks.serve()
            return
        missing = self._answers.missing(self._questions)
        batches = _batches(missing, answerer.batch_size)
        done = len(self._questions) - len(missing)
        with tqdm(total=len(self._questions), initial=done, desc="MT-bench answers") as bar:
            # One batch of each rank, so that an interruption costs no more than these.
            for first in range(0, len(batches), ranks.world_size):
                some = batches[first : first + ranks.world_size]
                answered = ranks.run("answer", some, on_progress=bar.update)
                for batch, turns in zip(some, answered, strict=True):
                    for question, pair in zip(batch, turns, strict=True):
                        self._answers.add(question, pair, self._origin)
        ranks.release()
        print(f"{self._answers.path}: {len(self._questions)} questions answered")

    def cleanup(self) -> None:
        """Close the file of answers, and clean up as every evaluation does."""
        if self._journal is not None:
            self._journal.close()
        super().cleanup()

    def _load_questions(self, cfg: DictConfig) -> None:
        data_dir = Path(cfg.get("data_dir") or DATA_DIR) / "mt_bench"
        self._questions = read_questions(data_dir)[: cfg.get("limit")]
        folder = Path(cfg.checkpointer.checkpoint_dir)
        self._origin = {
            **self._evaluated(),
            "generation": {
                "max_new_tokens": self._max_new_tokens,
                "max_seq_length": cfg.max_seq_length,
                "seed": cfg.seed,
                "dtype": cfg.dtype,
            },
        }
        # Open, and so locked, until cleanup.
        self._journal = Journal(folder / FILE_NAME)
        self._answers = Answers(self._journal)
        self._answers.check_origin(self._origin)

    def _wrapper(self, cfg: DictConfig) -> Callable[..., Any]:
        return partial(TwoTurnAnswerer, max_new_tokens=self._max_new_tokens, seed=cfg.seed)


def _batches(questions: Sequence[Question], size: int) -> list[list[Question]]:
    """Put questions of one temperature together, in batches of at most ``size``."""
    groups: dict[float, list[Question]] = defaultdict(list)
    for question in questions:
        groups[temperature_of(question)].append(question)
    return [
        group[first : first + size]
        for group in groups.values()
        for first in range(0, len(group), size)
    ]
