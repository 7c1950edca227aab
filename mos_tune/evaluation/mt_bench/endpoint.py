# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The judge: a chat model behind an OpenAI-compatible HTTP endpoint."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from mos_tune.errors import UserError

MAX_RETRIES = 8
"""Of one request. The client doubles its wait from 0.5 s to 8 s, so an endpoint has about 40 s to
come back; a ``Retry-After`` up to two minutes is honoured instead, as rate limits a minute want."""


class NoJudgement(Exception):
    """One request got no reply, for a reason that need not hold for the next."""


class MalformedReply(NoJudgement):
    """The endpoint answered, but not with a chat completion."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    text: str
    """The judge's words; empty if it gave none."""

    finish_reason: str | None
    """``stop``, or for example ``length`` if the judge was cut off."""

    usage: dict[str, int]
    """Tokens that were paid for, ``prompt_tokens`` and ``completion_tokens``, where told."""


class JudgeEndpoint:
    """Send chat requests, with retries; may be used from several threads.

    Time-outs, dropped connections, 408, 409, 429 and 5xx are tried again by the client, with
    exponential back-off and jitter. What every further request would meet too ends the run.

    Args:
        base_url (str): what ``/chat/completions`` follows, such as ``https://api.openai.com/v1``.
        model (str): the judge's name there.
        key_env (str): environment variable that holds the API key. A server that wants none takes
            any text.
        options (Mapping[str, Any]): further fields of every request, such as ``temperature``.
        timeout (float): seconds without a byte before a request is given up and tried again.
        max_retries (int): see ``MAX_RETRIES``.

    Raises:
        UserError: if the key is not set or ``base_url`` is no HTTP address.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        key_env: str,
        options: Mapping[str, Any],
        timeout: float,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        key = os.environ.get(key_env, "").strip()
        if not key:
            raise UserError(
                f"the environment variable {key_env} (--key-env) is not set; expected the key of "
                f"{base_url}, or any text if it wants none"
            )
        if not base_url.startswith(("http://", "https://")):
            raise UserError(f"--base-url is {base_url!r}; expected http://... or https://...")
        self.base_url = base_url
        self.model = model
        self._key_env = key_env
        self._options = dict(options)
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key, timeout=timeout, max_retries=max_retries
        )

    def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """Send one request and wait for its reply.

        Args:
            messages (Sequence[Mapping[str, str]]): with ``role`` and ``content``.

        Raises:
            UserError: for what stops the run: a refused key, an unknown model, no credit left.
            NoJudgement: if the last retry failed or the endpoint refuses this request.
            MalformedReply: if the reply is no chat completion.
        """
        body = {"model": self.model, "messages": list(messages), **self._options}
        # The raw reply, because the client's own reading lets through whatever came.
        create: Any = self._client.chat.completions.with_raw_response.create
        try:
            content = create(**body).http_response.content
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise UserError(
                f"the judge at {self.base_url} refuses the key in {self._key_env} "
                f"({error.status_code}): {_words(error)}"
            ) from error
        except openai.NotFoundError as error:
            raise UserError(
                f"the judge at {self.base_url} (--base-url) has no chat model {self.model!r} "
                f"(--model), or is no such endpoint (404): {_words(error)}"
            ) from error
        except openai.APIStatusError as error:
            if error.code == "insufficient_quota":
                raise UserError(
                    f"the account of the key in {self._key_env} at {self.base_url} has no credit "
                    f"left: {_words(error)}"
                ) from error
            raise NoJudgement(f"status {error.status_code}: {_words(error)}") from error
        except openai.APIConnectionError as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise NoJudgement(f"{error.message}{cause}") from error
        return _read(content)


def _read(content: bytes) -> Reply:
    try:
        completion = json.loads(content)
        choice = completion["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise MalformedReply(f"a reply that is no chat completion: {content[:80]!r}") from error
    usage = completion.get("usage") or {}
    kept = ("prompt_tokens", "completion_tokens")
    return Reply(
        text=text if isinstance(text, str) else "",
        finish_reason=choice.get("finish_reason"),
        usage={name: usage[name] for name in kept if isinstance(usage.get(name), int)},
    )


def _words(error: openai.APIStatusError) -> str:
    """Give the server's own explanation, or else the beginning of what it sent."""
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.response.text[:200] or error.message
