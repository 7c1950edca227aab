# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""One request to a judge that is slow, fails or talks nonsense."""

import socket
import time
from collections.abc import Iterator
from threading import Event

import openai._base_client
import pytest
from helpers.judge_server import (
    KEY,
    Answer,
    JudgeServer,
    completion,
    error,
    judge_server,
)

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.endpoint import (
    MAX_RETRIES,
    JudgeEndpoint,
    MalformedReply,
    NoJudgement,
)

MESSAGES = [{"role": "system", "content": "grade"}, {"role": "user", "content": "this"}]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The client has no argument for the first wait, which doubles from here.
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
    with judge_server() as running:
        yield running


@pytest.fixture
def never() -> Iterator[Event]:
    """What comes after the test alone."""
    event = Event()
    yield event
    event.set()


def endpoint(server: JudgeServer, timeout: float = 300.0, max_retries: int = 3) -> JudgeEndpoint:
    return JudgeEndpoint(
        base_url=server.url,
        model="judge-1",
        key_env="JUDGE_KEY",
        options={"temperature": 0, "max_tokens": 5},
        timeout=timeout,
        max_retries=max_retries,
    )


def test_sends_messages_and_options(server: JudgeServer) -> None:
    reply = endpoint(server).ask(MESSAGES)
    assert reply.text.endswith("Rating: [[7]]")
    assert reply.finish_reason == "stop"
    assert reply.usage == {"prompt_tokens": 100, "completion_tokens": 10}
    sent = {"model": "judge-1", "messages": MESSAGES, "temperature": 0, "max_tokens": 5}
    assert server.requests == [sent]


@pytest.mark.parametrize(
    "bad",
    [
        Answer(status=500, body=b"oops"),
        Answer(status=503, body=b""),
        error(429, "slow down", retry_after_ms="1"),
        error(408, "time-out"),
        Answer(drop=True),
    ],
    ids=["500", "503", "429", "408", "dropped"],
)
def test_tries_again(server: JudgeServer, bad: Answer) -> None:
    server.answer = lambda message, times: bad if times < 2 else Answer()
    assert endpoint(server).ask(MESSAGES).text.endswith("[[7]]")
    assert len(server.requests) == 3


def test_tries_again_after_a_time_out(server: JudgeServer, never: Event) -> None:
    server.answer = lambda message, times: Answer(until=never) if times < 2 else Answer()
    # A busy machine may let more than two of them run out.
    asked = endpoint(server, timeout=0.5, max_retries=100).ask(MESSAGES)
    assert asked.text.endswith("[[7]]")
    assert len(server.requests) >= 3


def test_waits_as_long_as_the_server_says(server: JudgeServer) -> None:
    wait = error(429, "slow down", retry_after="0.3")
    server.answer = lambda message, times: wait if times == 0 else Answer()
    start = time.monotonic()
    endpoint(server).ask(MESSAGES)
    assert time.monotonic() - start >= 0.3  # The first wait of its own would be 0.01 s.


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (error(500, "out of order"), "status 500: out of order"),
        (error(429, "slow down"), "status 429: slow down"),
        (Answer(drop=True), "Connection error"),
    ],
    ids=["500", "429", "dropped"],
)
def test_gives_up_after_the_last_retry(server: JudgeServer, bad: Answer, words: str) -> None:
    server.answer = lambda message, times: bad
    with pytest.raises(NoJudgement, match=words):
        endpoint(server, max_retries=1).ask(MESSAGES)
    assert len(server.requests) == 2


def test_gives_up_after_the_last_time_out(server: JudgeServer, never: Event) -> None:
    server.answer = lambda message, times: Answer(until=never)
    with pytest.raises(NoJudgement, match="timed out"):
        endpoint(server, timeout=0.1, max_retries=1).ask(MESSAGES)
    server.wait_for(2)
    assert len(server.requests) == 2


def test_does_not_repeat_what_the_server_refuses(server: JudgeServer) -> None:
    server.answer = lambda message, times: error(400, "too long")
    with pytest.raises(NoJudgement, match="status 400: too long"):
        endpoint(server).ask(MESSAGES)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b'{"choices": [{"mess',
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b"[]",
        b"\xff",
    ],
)
def test_a_reply_that_is_no_chat_completion(server: JudgeServer, body: bytes) -> None:
    server.answer = lambda message, times: Answer(body=body)
    with pytest.raises(MalformedReply, match="no chat completion"):
        endpoint(server).ask(MESSAGES)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_judge_that_says_nothing(server: JudgeServer, reason: str) -> None:
    server.answer = lambda message, times: Answer(body=completion(None, reason))
    reply = endpoint(server).ask(MESSAGES)
    assert (reply.text, reply.finish_reason) == ("", reason)


def test_a_refused_key(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-wrong")
    with pytest.raises(UserError, match="refuses the key in JUDGE_KEY.*401.*Incorrect") as caught:
        endpoint(server).ask(MESSAGES)
    assert "sk-wrong" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (error(403, "not in your country"), "refuses the key.*403.*not in your country"),
        (error(404, "no model judge-1"), "no chat model 'judge-1'.*404.*no model judge-1"),
        (error(429, "pay first", "insufficient_quota", x_should_retry="false"), "no credit left"),
    ],
)
def test_what_ends_the_run(server: JudgeServer, bad: Answer, words: str) -> None:
    server.answer = lambda message, times: bad
    with pytest.raises(UserError, match=words):
        endpoint(server).ask(MESSAGES)
    assert len(server.requests) == 1


def test_no_key_and_no_address(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.url = "localhost:8000"
    with pytest.raises(UserError, match="--base-url is 'localhost:8000'"):
        endpoint(server)
    monkeypatch.setenv("JUDGE_KEY", " ")
    with pytest.raises(UserError, match="JUDGE_KEY .--key-env. is not set"):
        endpoint(server)


def test_nobody_listens(server: JudgeServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, so that nobody else listens there
        server.url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(NoJudgement, match="Connection error"):
            endpoint(server, max_retries=1).ask(MESSAGES)


def test_retries_last_longer_than_a_short_outage() -> None:
    waits = [min(0.5 * 2**attempt, 8.0) for attempt in range(MAX_RETRIES)]
    assert openai._base_client.INITIAL_RETRY_DELAY == 0.5
    assert openai._base_client.MAX_RETRY_DELAY == 8.0
    assert 0.75 * sum(waits) > 25.0  # Jitter takes up to a quarter.
