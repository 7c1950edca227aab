# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A judge on loopback: a real HTTP server with the schema of chat completions."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-right"


@dataclass
class Answer:
    """What the server does with one request."""

    text: str = "A short explanation. Rating: [[7]]"
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    until: threading.Event | None = None
    """What it waits for before it answers."""
    drop: bool = False


class JudgeServer(ThreadingHTTPServer):
    """Answers with ``answer(user message, how often it came before)`` and keeps count."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[str, int], Answer] = lambda message, times: Answer()
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def messages(self) -> list[str]:
        """The user messages that came, in order."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def wait_for(self, count: int) -> None:
        """Return once so many requests have come: a client that gave up may be ahead of them."""
        while len(self.requests) < count:
            time.sleep(0.01)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: some tests want them to."""


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = request["messages"][-1]["content"]
        with self.server.lock:
            times = self.server.messages.count(message)
            self.server.requests.append(request)
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            answer = self.server.answer(message, times)
            if self.headers["Authorization"] != f"Bearer {KEY}":
                answer = error(401, "Incorrect API key provided.")
            elif self.path != "/v1/chat/completions":
                answer = error(404, "no such page")
            if answer.until is not None:
                answer.until.wait()
        finally:
            with self.server.lock:
                self.server.at_once -= 1
        body = answer.body if answer.body is not None else completion(answer.text)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer.drop else body)

    def log_message(self, *args: Any) -> None:
        pass


def completion(text: str | None, finish_reason: str = "stop") -> bytes:
    """The body of a chat completion."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge"}
    return json.dumps({**reply, "choices": choices, "usage": usage}).encode()


def error(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error in the API's form; ``retry_after_ms="1"`` keeps the client's wait short."""
    body = json.dumps({"error": {"message": message, "type": "test", "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=body, headers=named)


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """Run the server until the block ends."""
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
