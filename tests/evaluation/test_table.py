# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.


import csv
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest

from mos_tune.evaluation.mmlu import GROUPS, SUBJECTS
from mos_tune.evaluation.results import write_results
from mos_tune.evaluation.table import main

GROUP_ACCURACY = {"mathematics": 0.30, "medicine": 0.40, "others": 0.50}


def mmlu(shift: float = 0.0, prefix: str = "mos_mmlu_") -> dict[str, dict[str, float]]:
    """Subjects around their group's accuracy; the weighted group rows are not what is reported."""
    scores = {
        f"{prefix}{subject}": {"acc,none": GROUP_ACCURACY[name] + shift + 0.01 * (-1) ** i}
        for name, subjects in GROUPS.items()
        for i, subject in enumerate(subjects)
    }
    return {**scores, prefix.rstrip("_"): {"acc,none": 0.99}}


def mt_bench(turn_1: float, turn_2: float) -> dict[str, dict[str, float]]:
    mean = (turn_1 + turn_2) / 2
    return {"mt_bench": {"turn_1,none": turn_1, "turn_2,none": turn_2, "mean,none": mean}}


def write_run(
    folder: Path,
    scores: Mapping[str, Mapping[str, float | None]],
    *,
    name: str = "mos",
    mixture: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    task = {"alias": "", "version": 1.0, "n_shot": 0, "n_samples": 100, **(about or {})}
    group = {"alias": "", "version": 1.0, "n_shot": None, "n_samples": None}
    write_results(
        folder,
        name=name,
        checkpoint={"dir": str(folder), "fingerprint": str(folder), "step": 40},
        mixture=mixture,
        scores=scores,
        tasks={name: group if name in ("mos_mmlu", "mos_math") else task for name in scores},
        evaluation={"config": config or {}, "software": {}, "world_size": 1, "seconds": 1.0},
    )
    return folder


def table(capsys: pytest.CaptureFixture, *arguments: Path | str) -> list[list[str]]:
    main([str(argument) for argument in arguments])
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def error(*arguments: Path | str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert str(stop.value).startswith("mos-tune stopped: ")
    return str(stop.value)


def test_table_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = write_run(tmp_path / "a", {**mmlu(), **mt_bench(4.0, 3.0)})
    two = write_run(tmp_path / "b", {**mmlu(0.02), **mt_bench(5.0, 2.5)})
    other = write_run(tmp_path / "c", {**mmlu(-0.1), **mt_bench(6.0, 4.0)}, name="uniform")
    header, _, mos, uniform = table(capsys, one, two, other, "--output", tmp_path / "out")
    assert header == [
        "run",
        "runs",
        "MMLU Mathematics",
        "MMLU Medicine",
        "MMLU Others",
        "MMLU",
        "MT-bench turn 1",
        "MT-bench turn 2",
        "MT-bench",
        "mu",
    ]
    # All three groups have an odd number of subjects: the last one's hundredth stays.
    groups = [0.30 + 0.01 / 5, 0.40 + 0.01 / 9, 0.50 + 0.01 / 43]
    overall = (groups[0] * 5 + groups[1] * 9 + groups[2] * 43) / 57
    firsts = [100 * group for group in [*groups, overall]]
    assert mos[:2] == ["mos", "2"]
    assert mos[2:6] == [f"**{value + 1:.2f} ± {2 / 2**0.5:.2f}**" for value in firsts]
    assert mos[6:9] == ["4.50 ± 0.71", "2.75 ± 0.35", "3.62 ± 0.18"]
    mu = [(firsts[3] + 35) / 2, (firsts[3] + 2 + 37.5) / 2]
    assert mos[9] == f"{sum(mu) / 2:.2f} ± {stdev(mu):.2f}"
    mu_of_uniform = f"**{(firsts[3] - 10 + 50) / 2:.2f}**"
    assert uniform[2:6] == [f"{value - 10:.2f}" for value in firsts]
    assert uniform[6:] == ["**6.00**", "**4.00**", "**5.00**", mu_of_uniform]
    written = (tmp_path / "out/table.md").read_text().splitlines()
    assert [cell.strip() for cell in written[2].strip("|").split("|")] == mos
    with open(tmp_path / "out/table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["mu"]) == pytest.approx(sum(mu) / 2)
    assert float(rows[0]["mu std"]) == pytest.approx(stdev(mu))
    assert (rows[0]["mu runs"], rows[1]["mu std"]) == ("2", "")


def test_missing_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scores = mmlu()
    del scores["mos_mmlu_virology"]
    one = write_run(tmp_path / "a", scores)
    two = write_run(tmp_path / "b", {**mmlu(), "mos_gsm8k": {"exact_match,strict-match": None}})
    header, _, row = table(capsys, one, two, "--output", tmp_path)
    assert row[2].endswith(" ± 0.00") and "(" not in row[2]
    assert row[3] == "40.11 (1 of 2)"
    assert row[6:] == ["–"] * 4
    assert "GSM8K" not in header
    with open(tmp_path / "table.csv", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["mu"] == "" and cells["mu runs"] == "0"


def test_specialists_and_mixture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scores = {
        "mos_gsm8k": {"exact_match,strict-match": 0.25, "exact_match,flexible-extract": 0.5},
        "mos_math": {"exact_match,none": 0.125},
    }
    average = {"mathematics": 0.6, "nlp": 0.4}
    mixture = {"final_probabilities": {"mathematics": 1.0}, "average_probabilities": average}
    known = write_run(tmp_path / "a", scores, name="known", mixture=mixture)
    unknown = {**mixture, "average_probabilities": None}
    later = write_run(tmp_path / "run/epoch_0", scores, name="later", mixture=unknown)
    start = {"event": "start", "step": 0, "names": ["nlp"], "probabilities": {"nlp": 1.0}}
    end = {"event": "end", "step": 40, "average_probabilities": {"nlp": 0.9}}
    lines = "".join(f"{json.dumps(event)}\n" for event in (start, end))
    (tmp_path / "run/mixture.jsonl").write_text(lines)
    header, _, *rows = table(capsys, known, tmp_path / "run")
    assert header[-4:] == ["GSM8K", "MATH", "p mathematics", "p nlp"]
    assert rows[0][-4:] == ["**25.00**", "**12.50**", "0.600", "0.400"]
    assert rows[1][-4:] == ["**25.00**", "**12.50**", "–", "0.900"]
    (tmp_path / "run/mixture.jsonl").write_text(lines[:-5])  # still training
    assert table(capsys, later)[2][-1] == "12.50"
    (tmp_path / "run/mixture.jsonl").write_text(f"x{lines}")
    assert "mixture.jsonl, line 1: not a JSON object" in error(later)


def test_lm_evals_own_mmlu_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ours = write_run(tmp_path / "a", mmlu(), name="ours")
    theirs = write_run(tmp_path / "b", mmlu(prefix="mmlu_"), name="theirs")
    _, _, *rows = table(capsys, ours, theirs)
    assert rows[0][2:] == rows[1][2:]


@pytest.mark.parametrize(
    ("about", "config", "said"),
    [
        ({"n_shot": 5}, {}, "n_shot of abstract_algebra is 0 in {one} and 5 in {two}"),
        ({"version": 2.0}, {}, "version of abstract_algebra is 1.0 in {one} and 2.0 in {two}"),
        ({"n_samples": 10}, {}, "n_samples of abstract_algebra is 100 in {one} and 10 in {two}"),
        (
            {},
            {"apply_chat_template": True},
            "apply_chat_template of abstract_algebra is None in {one} and True in {two}",
        ),
    ],
)
def test_different_settings(
    tmp_path: Path, about: dict[str, Any], config: dict[str, Any], said: str
) -> None:
    one = write_run(tmp_path / "a", mmlu(), config={"apply_chat_template": False})
    two = write_run(tmp_path / "b", mmlu(), about=about, config=config)
    paths = {"one": one / "results.json", "two": two / "results.json"}
    assert f"MMLU Mathematics cannot be compared: {said.format(**paths)}" in error(one, two)


def test_different_judges_and_members(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", mt_bench(1, 2), config={"judge": "x"})
    two = write_run(tmp_path / "b", mt_bench(1, 2), config={"judge": "y"})
    assert "MT-bench turn 1 cannot be compared: judge of mt_bench is x in" in error(one, two)
    math = {"mos_math": {"exact_match,none": 0.5}, "mos_math_algebra": {"exact_match,none": 0.5}}
    one = write_run(tmp_path / "c", math)
    two = write_run(tmp_path / "d", math, about={"n_samples": 9})
    assert "MATH cannot be compared: n_samples of mos_math_algebra is 100 in" in error(one, two)


def test_bad_input(tmp_path: Path) -> None:
    assert "has no results.json" in error(tmp_path / "nowhere")
    one = write_run(tmp_path / "run/epoch_0", mmlu())
    assert "are of the same weights of mos" in error(one, tmp_path / "run")
    write_run(tmp_path / "run/epoch_1", mmlu())
    assert "has results of epoch_0 and epoch_1; name" in error(tmp_path / "run")
    path = one / "results.json"
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:-20])
    assert f"{path} is not valid JSON" in error(one)
    path.write_text('{"format": 99}')
    assert f"{path} has the format 99, expected mos-tune's format 1" in error(one)
    path.write_text(json.dumps({**whole, "tasks": {}}))
    assert f"{path} is not complete, evaluate again: KeyError(" in error(one)
    subject = f"mos_mmlu_{SUBJECTS[0]}"
    whole["scores"][subject] = {"acc,none": "high"}
    path.write_text(json.dumps(whole))
    assert f"{path} is not complete" in error(one)
