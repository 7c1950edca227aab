# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixture that a run was trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError


def average_probabilities(results_path: Path, results: Mapping[str, Any]) -> Mapping[str, float]:
    """Returns each dataset's average probability over the steps behind the checkpoint.

    Args:
        results_path: The run's ``results.json``.
        results: Its content. If it does not know the average, because training went on while the
            checkpoint was evaluated, the run's ``mixture.jsonl`` is asked.

    Returns:
        The probabilities by dataset; empty if not known.

    Raises:
        UserError: If ``mixture.jsonl`` is broken.
    """
    mixture = results["mixture"]
    if mixture is None:
        return {}
    if mixture["average_probabilities"] is not None:
        return dict(mixture["average_probabilities"])
    path = results_path.resolve().parent.parent / "mixture.jsonl"
    if not path.is_file():
        return {}
    try:
        last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        return last["average_probabilities"] if last["event"] == "end" else {}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"the last line of {path} is not an event of a run: {error!r}") from error
