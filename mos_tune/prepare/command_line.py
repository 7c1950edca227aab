# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The options that all preparation commands have."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def read_folders(
    prog: str, about: str | None, output_dir: Path, arguments: Sequence[str] | None
) -> tuple[Path, Path]:
    """Read the command line.

    Args:
        prog (str): the command, for its help.
        about (str | None): what it does, for its help.
        output_dir (Path): where the result goes by default.
        arguments (Sequence[str] | None): the command line; None for this process's.

    Returns:
        tuple[Path, Path]: where the result goes, and where downloaded packages are kept.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mos_tune"
    parser = argparse.ArgumentParser(
        prog=prog, description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, meaning in (
        ("--output-dir", output_dir, "where the result goes"),
        ("--cache-dir", cache, "where downloaded packages are kept"),
    ):
        parser.add_argument(
            name, type=Path, default=default, help=f"{meaning}; default: %(default)s"
        )
    options = parser.parse_args(arguments)
    return options.output_dir, options.cache_dir
