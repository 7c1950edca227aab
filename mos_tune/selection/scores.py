# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The scores of one dataset's examples, in a file that a killed run leaves whole."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError
from mos_tune.journal import Journal
from mos_tune.selection.difficulty import difficulty


class Scores:
    """JSON lines: first the settings, then one line per example, in the order of measurement.

    A line is ``{"index": of the example in the dataset, "score": its IFD, "loss": nats per response
    token after the instruction, "loss_alone": without it}``.

    Args:
        path (Path): the file, made if it is missing.
        settings (Mapping[str, Any]): all that the scores depend on.

    Attributes:
        by_index (dict[int, float]): the scores in the file.

    Raises:
        UserError: if the file has scores of other settings, or is not such a file.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.by_index: dict[int, float] = {}
        self._journal = Journal(path)
        try:
            if not self._journal.records:
                self._journal.append({"settings": dict(settings)})
            self._check_settings(settings)
            for number, record in enumerate(self._journal.records[1:], 2):
                match record:
                    case {"index": int(index), "score": float(score)}:
                        self.by_index[index] = score
                    case _:
                        raise UserError(f"line {number} of {path} is no score of an example")
        except BaseException:
            self.close()
            raise

    def add(self, losses: Iterable[tuple[int, float, float]]) -> None:
        """Write examples' losses, and wait until the disk has them.

        Args:
            losses (Iterable[tuple[int, float, float]]): index, loss after the instruction and loss
                of the response alone; what is in the file already is passed over.
        """
        new = {
            index: {"score": difficulty(loss, alone), "loss": loss, "loss_alone": alone}
            for index, loss, alone in losses
            if index not in self.by_index
        }
        self._journal.extend({"index": index, **measured} for index, measured in new.items())
        self.by_index |= {index: measured["score"] for index, measured in new.items()}

    def close(self) -> None:
        """Close the file, so that another run may write it."""
        self._journal.close()

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        path, found = self._journal.path, self._journal.records[0].get("settings")
        if not isinstance(found, dict):
            raise UserError(f"line 1 of {path} has no settings; mos-tune did not write this file")
        for key, value in settings.items():
            if found.get(key) != value:
                raise UserError(
                    f"{path} holds scores with another {key}: {found.get(key)}, not {value}; "
                    "delete it or give another selection.output_dir"
                )
