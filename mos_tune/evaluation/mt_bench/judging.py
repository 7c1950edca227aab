# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""One judging run: asks for what is not judged yet, several at a time, and keeps every reply."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from threading import Event

from tqdm import tqdm

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.endpoint import JudgeEndpoint, MalformedReply, NoJudgement
from mos_tune.evaluation.mt_bench.ratings import JudgeRequest, parse_rating
from mos_tune.journal import Journal

ATTEMPTS = 3
"""How often one run asks for a judgement that comes without a rating. Judges are asked at
temperature 0 but seldom answer twice alike; what fails three times mostly fails for ever."""

FAILURES_IN_A_ROW = 8
"""So many requests without a reply, each after all its retries, and the endpoint counts as down."""


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """What a run leaves."""

    ratings: dict[tuple[int, int], float] = field(default_factory=dict)
    """Ratings by question and turn."""

    unparsable: list[JudgeRequest] = field(default_factory=list)
    """Judged, but every time without a rating."""

    failed: dict[tuple[int, int], str] = field(default_factory=dict)
    """Why there is no reply, by question and turn."""

    def what_is_missing(self) -> str:
        """Count what there is no rating for, with an example of each kind."""
        parts = []
        if self.unparsable:
            question, turn = _place(self.unparsable[0])
            parts.append(
                f"{len(self.unparsable)} were judged without a rating from 1 to 10 "
                f"(question {question} turn {turn})"
            )
        if self.failed:
            (question, turn), reason = next(iter(self.failed.items()))
            parts.append(
                f"{len(self.failed)} got no judgement (question {question} turn {turn}: {reason})"
            )
        return " and ".join(parts)


def judge(
    requests: Sequence[JudgeRequest],
    endpoint: JudgeEndpoint,
    journal: Journal,
    *,
    concurrency: int,
) -> Judgements:
    """Get every judgement that the journal does not have yet.

    A judgement is known by judge, prompt and answer, so nothing is asked for again because a run
    was interrupted, and a changed answer is. A reply without a rating is kept in the journal too,
    and asked for again: up to ``ATTEMPTS`` times a run.

    Args:
        requests (Sequence[JudgeRequest]): all answers to be graded.
        endpoint (JudgeEndpoint): the judge.
        journal (Journal): replies so far; new ones are on the disk as soon as they come.
        concurrency (int): how many requests may be under way at a time.

    Returns:
        Judgements: ratings of this and earlier runs, and what is still missing.

    Raises:
        UserError: if no further request can succeed, or too many in a row failed.
    """
    rated = {
        record.get("key"): float(record["rating"])
        for record in journal.records
        if record.get("rating") is not None
    }
    outcome = Judgements()
    missing = []
    for request in requests:
        rating = rated.get(request.key(endpoint.model))
        if rating is None:
            missing.append(request)
        else:
            outcome.ratings[_place(request)] = rating
    failures_in_a_row = 0
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
    over = Event()

    def ask(request: JudgeRequest) -> float | None:
        if over.is_set():  # nobody reads the rating: the loop below ends with the error
            return None
        try:
            return _ask(request, endpoint, journal)
        except UserError:
            # At once: this thread's next request would be sent before the loop cancels it.
            over.set()
            raise

    try:
        futures = {pool.submit(ask, request): request for request in missing}
        for future in tqdm(
            as_completed(futures),
            desc=f"judging with {endpoint.model}",
            total=len(requests),
            initial=len(outcome.ratings),
        ):
            request = futures[future]
            try:
                rating = future.result()
            except NoJudgement as error:
                outcome.failed[_place(request)] = str(error)
                failures_in_a_row += 1
                if failures_in_a_row == FAILURES_IN_A_ROW:
                    raise UserError(
                        f"{FAILURES_IN_A_ROW} requests in a row to {endpoint.base_url} failed, the "
                        f"last one with {error}; {len(outcome.ratings)} judgements of "
                        f"{len(requests)} are kept, and the same command resumes from there"
                    ) from error
                continue
            failures_in_a_row = 0
            if rating is None:
                outcome.unparsable.append(request)
            else:
                outcome.ratings[_place(request)] = rating
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        print("\nwaiting for the requests under way, which are paid for; Ctrl-C again drops them")
        raise
    finally:
        # What is under way is written by its own thread; what is not begun yet never is.
        pool.shutdown(wait=True, cancel_futures=True)
    return outcome


def _ask(request: JudgeRequest, endpoint: JudgeEndpoint, journal: Journal) -> float | None:
    """Ask until there is a rating; write down every reply.

    Returns:
        float | None: the rating, None if the last reply had none.

    Raises:
        NoJudgement: if the last attempt brought no reply.
        UserError: if no further request can succeed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            reply = endpoint.ask(request.messages)
        except MalformedReply:
            if attempt == ATTEMPTS:
                raise
            continue
        rating = parse_rating(reply.text)
        journal.append(
            {
                "key": request.key(endpoint.model),
                "question_id": request.question.question_id,
                "turn": request.turn,
                "judge": endpoint.model,
                "rating": rating,
                "judgement": reply.text,
                "finish_reason": reply.finish_reason,
                "usage": reply.usage,
            }
        )
        if rating is not None:
            return rating
    return None


def _place(request: JudgeRequest) -> tuple[int, int]:
    return request.question.question_id, request.turn
