# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The files a run leaves about its mixture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class MixtureRecord:
    """Write ``mixture.jsonl`` and, when asked for, ``examples.jsonl``: a line is whole or absent.

    Args:
        output_dir (Path): made if missing.
        append (bool): go on with the files of an interrupted run.
        log_examples (bool): write every step's examples.
    """

    def __init__(self, output_dir: Path, *, append: bool, log_examples: bool) -> None:
        output_dir.mkdir(parents=True, exist_ok=True)
        mode = "a" if append else "w"
        self.mixture_path = output_dir / "mixture.jsonl"
        self._mixture = self.mixture_path.open(mode, encoding="utf-8")
        self._examples: TextIO | None = None
        if log_examples:
            self._examples = (output_dir / "examples.jsonl").open(mode, encoding="utf-8")

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Write one event of ``mixture.jsonl``."""
        _write_line(self._mixture, {"event": name, "step": step, **fields})

    def examples(self, step: int, examples: list[tuple[str, int]]) -> None:
        """Write one step's global batch: dataset name and index, in order."""
        if self._examples is not None:
            _write_line(self._examples, {"step": step, "examples": examples})

    def close(self) -> None:
        """Close the files."""
        self._mixture.close()
        if self._examples is not None:
            self._examples.close()


def _write_line(file: TextIO, fields: Mapping[str, Any]) -> None:
    file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    file.flush()
