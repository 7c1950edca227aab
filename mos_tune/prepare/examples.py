# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a source of training data yields: examples, and records that give none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A prompt and its answer."""

    input: str
    """The prompt."""

    output: str
    """The answer."""

    questions: tuple[str, ...]
    """The texts behind the prompt that are compared with the evaluation sets' questions."""


@dataclass(frozen=True)
class Skipped:
    """A record that gives no example."""

    reason: str
    """Why, in a few words; counted and printed."""
