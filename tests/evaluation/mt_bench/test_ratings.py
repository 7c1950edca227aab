# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the judge reads, and how its grade is read."""

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.mt_bench_files import write_benchmark

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.benchmark import Benchmark, JudgePrompt, read_benchmark
from mos_tune.evaluation.mt_bench.ratings import judge_requests, parse_rating

ANSWERS = {i: (f"one-{i} {{x}}", f"two-{i}") for i in (81, 82, 83, 84)}


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    return read_benchmark(write_benchmark(tmp_path / "data"))


def test_the_four_prompts(benchmark: Benchmark) -> None:
    requests = judge_requests(benchmark, ANSWERS)
    asked = {(r.question.question_id, r.turn): r.messages for r in requests}
    assert len(asked) == 8
    system, user = asked[81, 1]
    assert system == {"role": "system", "content": "system of single-v1"}
    assert user == {"role": "user", "content": "Q first-81? A one-81 {x}"}
    assert asked[82, 1][1]["content"] == "Q first-82? REF ref-one-82 A one-82 {x}"
    second = "Q1 first-84? A1 one-84 {x} Q2 second-84? A2 two-84"
    assert asked[84, 2][1]["content"] == second
    second = "Q1 first-83? R1 ref-one-83 Q2 second-83? R2 ref-two-83 A1 one-83 {x} A2 two-83"
    assert asked[83, 2][1]["content"] == second


def test_the_key_follows_judge_prompt_and_answer(benchmark: Benchmark) -> None:
    keys = [r.key("judge") for r in judge_requests(benchmark, ANSWERS)]
    assert len(set(keys)) == 8
    assert keys == [r.key("judge") for r in judge_requests(benchmark, dict(ANSWERS))]
    other_judge = [r.key("other") for r in judge_requests(benchmark, ANSWERS)]
    assert not set(keys) & set(other_judge)
    second = judge_requests(benchmark, ANSWERS | {81: (ANSWERS[81][0], "changed")})
    differs = [new.key("judge") != old for new, old in zip(second, keys, strict=True)]
    assert differs == [False, True] + [False] * 6
    prompts = benchmark.prompts | {(1, False): JudgePrompt(system="new", template="{answer}")}
    changed = judge_requests(replace(benchmark, prompts=prompts), ANSWERS)
    assert sum(r.key("judge") in keys for r in changed) == 6


@pytest.mark.parametrize("template", ["{nobody}", "{answer", "{0}", "{answer.nothing}"])
def test_a_template_that_cannot_be_filled_in(benchmark: Benchmark, template: str) -> None:
    prompts = benchmark.prompts | {(1, False): JudgePrompt(system="", template=template)}
    with pytest.raises(UserError, match="judge_prompts.jsonl has a template"):
        judge_requests(replace(benchmark, prompts=prompts), ANSWERS)


@pytest.mark.parametrize(
    ("judgement", "rating"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("Rating: [[8.5]]", 8.5),
        ("Rating: [[10]]\nbut first I thought [[3]]", 10.0),
        ("[[1]]", 1.0),
        ("**Rating:** [6]", 6.0),
        ("My rating is [6], since rows[1] is wrong", 6.0),
        ("rows[1] is wrong", None),
        ("Rating: 7/10", None),
        ("Rating: [[rating]]", None),
        ("Rating: [[0]]", None),
        ("Rating: [[11]]", None),
        ("Rating: [[-5]]", None),
        ("Rating: [[7/10]]", None),
        ("", None),
    ],
)
def test_ratings(judgement: str, rating: float | None) -> None:
    assert parse_rating(judgement) == rating
