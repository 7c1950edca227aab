# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

r"""Grade MT-bench answers with a judge behind any OpenAI-compatible endpoint.

    mos-tune judge --answers output/smollm2_135M_mos/epoch_0/mt_bench_answers.jsonl \
        --base-url https://api.openai.com/v1 --model gpt-4
    mos-tune judge --answers mt_bench_answers.jsonl --base-url http://localhost:8000/v1 \
        --model a-judge-of-mine --key-env MY_KEY --concurrency 32

The key comes from an environment variable. Every reply is written to mt_bench_judgements.jsonl,
beside the answers, as soon as it comes, so a run that was stopped resumes where it was. Once every
answer has a rating, the scores are printed and put into results.json, in the same folder.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mos_tune.base_checkpoint import fingerprint, weight_files
from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.answers import Answers
from mos_tune.evaluation.mt_bench.benchmark import DATA_DIR, read_benchmark
from mos_tune.evaluation.mt_bench.endpoint import JudgeEndpoint
from mos_tune.evaluation.mt_bench.judging import judge
from mos_tune.evaluation.mt_bench.ratings import judge_requests, mt_bench_scores
from mos_tune.evaluation.results import write_results
from mos_tune.journal import Journal
from mos_tune.tables import markdown

OPTIONS = {"temperature": 0, "max_tokens": 2048}
"""What the benchmark's own code asks a judge with."""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, judge and write the scores; status 1 if any is missing."""
    options = _parser().parse_args(argv)
    try:
        _judge(options)
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")


def _judge(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    if options.concurrency < 1:
        raise UserError(f"--concurrency is {options.concurrency}; expected at least 1")
    if not options.answers.is_file():
        raise UserError(f"--answers is {options.answers}, where no file is")
    benchmark = read_benchmark(options.data_dir / "mt_bench")
    endpoint = JudgeEndpoint(
        base_url=options.base_url,
        model=options.model,
        key_env=options.key_env,
        options=_json_object(options.request),
        timeout=options.timeout,
    )
    folder = options.answers.parent
    with Journal(options.answers) as file, Journal(folder / "mt_bench_judgements.jsonl") as journal:
        answers = Answers(file)
        missing = answers.missing(benchmark.questions)
        if missing or answers.origin is None:
            raise UserError(
                f"{options.answers} answers {len(benchmark.questions) - len(missing)} of "
                f"{len(benchmark.questions)} questions of {options.data_dir}; generate the rest"
            )
        _check_weights(answers.origin, folder)
        requests = judge_requests(benchmark, answers.by_question)
        judgements = judge(requests, endpoint, journal, concurrency=options.concurrency)
        _say_cost(journal, options.model)
        if len(judgements.ratings) < len(requests):
            raise UserError(
                f"no scores yet: {len(requests) - len(judgements.ratings)} of {len(requests)} "
                f"ratings are missing; {judgements.what_is_missing()}; the replies are in "
                f"{journal.path}, and the same command asks for the missing ones alone"
            )
    scores = mt_bench_scores(benchmark.questions, judgements.ratings)
    counts = Counter(f"mt_bench_{question.category}" for question in benchmark.questions)
    counts["mt_bench"] = len(benchmark.questions)
    path = write_results(
        folder,
        name=answers.origin["name"],
        checkpoint=answers.origin["checkpoint"],
        mixture=answers.origin.get("mixture"),
        scores=scores,
        tasks={
            name: {"alias": name, "version": None, "n_shot": 0, "n_samples": counts[name]}
            for name in scores
        },
        evaluation={
            "config": {
                "judge": options.model,
                "base_url": options.base_url,
                "generation": answers.origin.get("generation"),
            },
            "software": {name: version(name) for name in ("mos-tune", "openai")},
            "world_size": 1,
            "seconds": round(time.perf_counter() - start, 3),
        },
    )
    print(_table(scores))
    print(f"written to {path}")


def _table(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    columns = ("turn_1,none", "turn_2,none", "mean,none", "mean_stderr,none")
    rows = (
        [name, *("" if (value := metrics[key]) is None else f"{value:.2f}" for key in columns)]
        for name, metrics in scores.items()
    )
    return markdown(["", "turn 1", "turn 2", "mean", "stderr"], rows)


def _check_weights(origin: Mapping[str, Any], folder: Path) -> None:
    # torchtune copies the small files of the base model's folder into the exports.
    weights = weight_files(folder)
    if weights and fingerprint(weights) != origin["checkpoint"]["fingerprint"]:
        raise UserError(
            f"the answers in {folder} are of other weights than those beside them; delete them and "
            "generate new ones"
        )


def _say_cost(journal: Journal, model: str) -> None:
    usages = [record.get("usage", {}) for record in journal.records if record.get("judge") == model]
    told = {
        name: sum(usage.get(name, 0) for usage in usages)
        for name in ("prompt_tokens", "completion_tokens")
    }
    print(
        f"{journal.path}: {len(usages)} replies of {model}, {told['prompt_tokens']} prompt and "
        f"{told['completion_tokens']} completion tokens as the endpoint told"
    )


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"--request is {text!r}; expected a JSON object")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mos-tune judge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--answers", type=Path, required=True, help="the mt_bench_answers.jsonl to grade"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DATA_DIR,
        help="where mt_bench/ with questions, references and judge prompts is; "
        "default: %(default)s",
    )
    parser.add_argument("--base-url", required=True, help="what /chat/completions follows")
    parser.add_argument("--model", required=True, help="the judge's name at that address")
    parser.add_argument(
        "--key-env",
        default="OPENAI_API_KEY",
        help="environment variable with the API key; default: %(default)s",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=8,
        help="requests under way at a time; default: %(default)s",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120.0,
        help="seconds to wait for a reply before asking again; default: %(default)s",
    )
    parser.add_argument(
        "--request",
        default=json.dumps(OPTIONS),
        metavar="JSON",
        help="further fields of every request; default: %(default)s",
    )
    return parser
