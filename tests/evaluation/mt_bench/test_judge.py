# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The judging command against a real HTTP server."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai._base_client
import pytest
from helpers.judge_server import KEY, Answer, JudgeServer, error, judge_server
from helpers.mt_bench_files import write_answers, write_benchmark
from helpers.runs import REPOSITORY
from helpers.warm_python import warm_python

from mos_tune.evaluation.mt_bench.judge import main
from mos_tune.evaluation.mt_bench.judging import ATTEMPTS, FAILURES_IN_A_ROW
from mos_tune.evaluation.results import read_results

RATINGS = {
    (81, 1): 9.0,
    (81, 2): 8.0,
    (82, 1): 2.0,
    (82, 2): 1.0,
    (83, 1): 4.5,
    (83, 2): 3.0,
    (84, 1): 10.0,
    (84, 2): 6.0,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    with judge_server() as running:
        running.answer = lambda message, times: rate(message)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_answers(
        tmp_path / "mt_bench_answers.jsonl", write_benchmark(tmp_path / "data" / "mt_bench")
    )
    return tmp_path


def place(message: str) -> tuple[int, int]:
    """Which question and turn a judge prompt of ``helpers.mt_bench_files`` is about."""
    return int(message.split("?")[0][-2:]), 2 if message.startswith("Q1") else 1


def rate(message: str) -> Answer:
    return Answer(text=f"Fine. Rating: [[{RATINGS[place(message)]:g}]]")


def command(folder: Path, server: JudgeServer, concurrency: int = 4) -> list[str]:
    options = [
        "--answers",
        str(folder / "mt_bench_answers.jsonl"),
        "--data-dir",
        str(folder / "data"),
    ]
    options += ["--base-url", server.url, "--model", "judge-1", "--key-env", "JUDGE_KEY"]
    return [*options, "--concurrency", str(concurrency), "--timeout", "300"]


def stop_message(folder: Path, server: JudgeServer, concurrency: int = 4) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(command(folder, server, concurrency))
    assert stopped.value.code != 0
    return str(stopped.value.code)


def test_scores_as_by_hand(
    folder: Path, server: JudgeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(folder, server))
    results = read_results(folder)
    scores = results["scores"]["mt_bench"]
    assert scores["turn_1,none"] == (9 + 2 + 4.5 + 10) / 4
    assert scores["turn_2,none"] == (8 + 1 + 3 + 6) / 4
    assert scores["mean,none"] == (9 + 8 + 2 + 1 + 4.5 + 3 + 10 + 6) / 8
    # Of the questions: 8.5, 1.5, 3.75, 8, whose squared distances from 5.4375 add up to 34.296875.
    assert scores["mean_stderr,none"] == pytest.approx((34.296875 / 3 / 4) ** 0.5)
    assert results["scores"]["mt_bench_math"]["turn_2,none"] == 1.0
    assert results["scores"]["mt_bench_math"]["turn_2_stderr,none"] is None
    assert results["tasks"]["mt_bench"]["n_samples"] == 4
    assert results["tasks"]["mt_bench_coding"]["n_samples"] == 1
    assert (results["name"], results["checkpoint"]["step"]) == ("tiny", 40)
    assert results["evaluations"][0]["config"]["judge"] == "judge-1"
    printed = capsys.readouterr().out
    assert "| mt_bench | 6.38 | 4.50 | 5.44 | 1.69 |" in printed
    assert "8 replies of judge-1, 800 prompt and 80 completion tokens" in printed
    assert KEY not in printed + "".join(path.read_text() for path in folder.glob("*.json*"))


def test_nothing_is_paid_for_twice(folder: Path, server: JudgeServer) -> None:
    main(command(folder, server))
    assert len(server.requests) == 8
    first = (folder / "results.json").read_text()
    main(command(folder, server))
    assert len(server.requests) == 8
    assert json.loads(first)["scores"] == read_results(folder)["scores"]
    # Another answer to one second turn: that alone is judged again.
    path = folder / "mt_bench_answers.jsonl"
    path.write_text(path.read_text().replace("answer-two-84", "better"))
    main(command(folder, server))
    assert [place(message) for message in server.messages[8:]] == [(84, 2)]


def test_never_more_requests_than_asked_for(folder: Path, server: JudgeServer) -> None:
    three = threading.Event()

    def together(message: str, times: int) -> Answer:
        if server.at_once >= 3:
            three.set()
        answer = rate(message)
        answer.until = three
        return answer

    server.answer = together
    main(command(folder, server, concurrency=3))
    assert server.most_at_once == 3


def test_a_bad_minute_changes_nothing(folder: Path, server: JudgeServer) -> None:
    trouble = {
        (81, 1): Answer(status=500, body=b"oops"),
        (81, 2): error(429, "slow down", retry_after_ms="10"),
        (82, 1): Answer(drop=True),
        (82, 2): error(408, "time-out"),
        (83, 1): Answer(body=b'{"choices"'),
        (83, 2): Answer(body=b"{}"),
        (84, 1): Answer(text="I would rather not say."),
    }
    server.answer = lambda message, times: (
        trouble.get(place(message), rate(message)) if times < 2 else rate(message)
    )
    main(command(folder, server))
    assert read_results(folder)["scores"]["mt_bench"]["mean,none"] == 5.4375
    assert len(server.requests) == 8 + 2 * len(trouble)


def test_a_judgement_without_rating_is_counted_and_never_scored(
    folder: Path, server: JudgeServer
) -> None:
    server.answer = lambda message, times: (
        Answer(text="Rating: [[12]]") if place(message) == (83, 2) else rate(message)
    )
    message = stop_message(folder, server)
    assert "1 of 8 ratings are missing" in message
    assert "1 were judged without a rating from 1 to 10 (question 83 turn 2" in message
    assert not (folder / "results.json").exists()
    assert len(server.requests) == 7 + ATTEMPTS
    # The next run asks for this one alone.
    server.answer = lambda message, times: rate(message)
    main(command(folder, server))
    assert len(server.requests) == 7 + ATTEMPTS + 1
    assert read_results(folder)["scores"]["mt_bench"]["mean,none"] == 5.4375


def test_what_fails_is_counted_and_the_rest_is_judged(folder: Path, server: JudgeServer) -> None:
    server.answer = lambda message, times: (
        error(400, "flagged") if place(message) == (81, 1) else rate(message)
    )
    message = stop_message(folder, server)
    assert "1 of 8 ratings are missing" in message
    assert "1 got no judgement (question 81 turn 1: status 400: flagged)" in message
    assert not (folder / "results.json").exists()


def test_a_judge_that_is_down_ends_the_run(folder: Path, server: JudgeServer) -> None:
    server.answer = lambda message, times: error(400, "no such parameter")
    message = stop_message(folder, server, concurrency=1)
    assert f"{FAILURES_IN_A_ROW} requests in a row" in message
    assert "no such parameter" in message


def test_a_bad_key_is_said_once(
    folder: Path, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-wrong")
    message = stop_message(folder, server, concurrency=2)
    assert "refuses the key in JUDGE_KEY (401): Incorrect API key" in message
    assert "\n" not in message
    assert len(server.requests) <= 2  # What was under way.
    assert not (folder / "results.json").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_resumes(folder: Path, server: JudgeServer, how: signal.Signals) -> None:
    release = threading.Event()

    def answer(message: str, times: int) -> Answer:
        answer = rate(message)
        if len(server.requests) > 3:
            answer.until = release
        return answer

    server.answer = answer
    given = command(folder, server, concurrency=1)
    arguments = [warm_python(), "-m", "mos_tune.cli", "judge", *given]
    with subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            while len(server.requests) < 4:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(how)
            for line in process.stdout:  # to the end of the one that is killed
                if "waiting for the requests under way" in line:
                    break
        finally:
            release.set()
    assert process.returncode != 0
    assert not (folder / "results.json").exists()
    # Ctrl-C takes the reply under way with it, a kill cannot.
    kept = 4 if how == signal.SIGINT else 3
    lines = (folder / "mt_bench_judgements.jsonl").read_text().splitlines()
    assert len(lines) == kept
    main(command(folder, server))
    assert len(server.requests) == 4 + 8 - kept
    assert read_results(folder)["scores"]["mt_bench"]["mean,none"] == 5.4375


def test_says_what_is_wrong_before_anything_is_paid_for(folder: Path, server: JudgeServer) -> None:
    (folder / "model.safetensors").write_bytes(b"of another model")
    assert "other weights than those beside" in stop_message(folder, server)
    (folder / "model.safetensors").unlink()
    path = folder / "mt_bench_answers.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:3]))
    assert "answers 3 of 4 questions" in stop_message(folder, server)
    path.write_text('{"question_id": 81}\n')
    assert "answer 1 in" in stop_message(folder, server)
    path.unlink()
    assert "mt_bench_answers.jsonl, where no file is" in stop_message(folder, server)
    assert "--concurrency is 0" in stop_message(folder, server, concurrency=0)
    assert server.requests == []


def test_options_of_the_request(folder: Path, server: JudgeServer) -> None:
    main([*command(folder, server), "--request", '{"max_completion_tokens": 9}'])
    assert set(server.requests[0]) == {"model", "messages", "max_completion_tokens"}
    with pytest.raises(SystemExit, match="--request is '9'; expected a JSON object"):
        main([*command(folder, server), "--request", "9"])
