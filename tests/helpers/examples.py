# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The scripts of examples/, started as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.runs import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


def run_python(*arguments: str | Path) -> str:
    """Run Python in a fresh process, and give what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


def read_lines(file: Path) -> list[dict]:
    """Read JSON lines, less the seconds that something took."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
