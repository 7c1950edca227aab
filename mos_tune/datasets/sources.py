# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Where rows come from: files of one's own, or a repository on the hub."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import datasets
from datasets import load_dataset, load_dataset_builder

from mos_tune.datasets.text_files import TextRows
from mos_tune.errors import UserError

FILE_SOURCES = ("json", "csv", "parquet")
_SUFFIXES = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class Part(Protocol):
    """The rows of one file."""

    name: str

    def __len__(self) -> int:
        """Count the rows."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Read a row."""

    def place(self, index: int, /) -> str:
        """Tell where a row stands."""


class TypedRows:
    """The rows of a table whose columns have declared types.

    Attributes:
        name (str): what messages call it.
        features (datasets.Features): the declared types.
    """

    def __init__(self, table: datasets.Dataset, name: str) -> None:
        self.name, self.features = name, table.features
        self._table = table

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._table)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Read a row."""
        return self._table[index]

    def place(self, index: int) -> str:
        """Tell where a row stands."""
        return f"row {index + 1} of {self.name}"


class Slice(NamedTuple):
    """Consecutive rows of a part."""

    part: Part
    start: int
    stop: int


class Table:
    """Rows of several parts, one after the other.

    Attributes:
        slices (list[Slice]): which rows of which part.
    """

    def __init__(self, slices: list[Slice]) -> None:
        self.slices = slices

    def __len__(self) -> int:
        """Count the rows."""
        return sum(stop - start for _, start, stop in self.slices)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """Read a row."""
        part, position = self._find(index)
        return part[position]

    def place(self, index: int) -> str:
        """Tell in which file a row stands, and where there."""
        part, position = self._find(index)
        return part.place(position)

    def _find(self, index: int) -> tuple[Part, int]:
        left = index
        for part, start, stop in self.slices:
            if 0 <= left < stop - start:
                return part, start + left
            left -= stop - start
        raise IndexError(f"row {index} of {len(self)}")


def load_rows(
    source: str | None,
    data_files: Any,
    split: str,
    *,
    field: str | None = None,
    **load_dataset_kwargs: Any,
) -> Table:
    """Load rows whose text is that of the file.

    JSON, CSV and TSV are read by mos-tune, also those of a repository, so that no type is guessed;
    tables that declare their types, such as Parquet, by ``datasets``.

    Args:
        source (str | None): a repository on the hub, or a folder of the same form; "json", "csv",
            "parquet" or None for ``data_files`` on their own.
        data_files (Any): a path, a pattern, a folder, a list of these, or a mapping from splits to
            them; within ``source`` if that is a repository.
        split (str): as in ``datasets.load_dataset``, for example "train[:1000]"; files that are no
            mapping are the split "train".
        field (str | None): the key under which a JSON file has its rows.
        **load_dataset_kwargs (Any): more arguments of ``datasets.load_dataset``, for repositories.

    Returns:
        Table: the rows, file after file.

    Raises:
        UserError: naming the file that is missing or damaged, or the split that is not there.
    """
    if source is None and data_files is None:
        raise UserError("source and data_files are both missing; expected one of them")
    local = source is None or source in FILE_SOURCES
    if source is None and isinstance(data_files, str | os.PathLike) and os.path.isdir(data_files):
        source, data_files, local = os.fspath(data_files), None, False
    if local and data_files is None:
        raise UserError(f"source is {source}, which needs data_files")
    if local and not any("://" in file for file in _flat(data_files)):
        unknown = set(load_dataset_kwargs) - {"cache_dir"}
        if unknown:
            raise UserError(f"{', '.join(sorted(unknown))}: no option of files on this machine")
        files = data_files if isinstance(data_files, Mapping) else {"train": data_files}
        splits = {
            str(name): [
                _open(file, file, source, field, load_dataset_kwargs)
                for pattern in _flat(given)
                for file in _matches(pattern)
            ]
            for name, given in files.items()
        }
    elif source is None:
        raise UserError(f"source must name the kind of files of {data_files}, as in source: json")
    else:
        splits = _from_library(source, data_files, field, load_dataset_kwargs)
    return Table(list(_slices(splits, split)))


def _slices(splits: Mapping[str, Sequence[Part]], split: str) -> Iterator[Slice]:
    sizes = {name: sum(len(part) for part in parts) for name, parts in splits.items()}
    try:
        wanted = datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        raise UserError(f"split: {error}".replace("\n", " ")) from error
    for piece in wanted:
        first, last = piece.from_ or 0, sizes[piece.splitname] if piece.to is None else piece.to
        for part in splits[piece.splitname]:
            start, stop = max(0, first), min(len(part), last)
            if start < stop:
                yield Slice(part, start, stop)
            first, last = first - len(part), last - len(part)


def _flat(data_files: Any) -> Iterator[str]:
    if isinstance(data_files, str | os.PathLike):
        yield os.fspath(data_files)
    elif isinstance(data_files, Mapping):
        for part in data_files.values():
            yield from _flat(part)
    elif data_files is not None:
        for part in data_files:
            yield from _flat(part)


def _matches(file: str) -> list[str]:
    if os.path.isfile(file):
        return [file]
    if os.path.isdir(file):
        raise UserError(f"{file} is a folder; a folder goes alone, or as a pattern of its files")
    found = sorted(path for path in glob.glob(file, recursive=True) if os.path.isfile(path))
    if not found:
        missing = "no file matches" if glob.has_magic(file) else "there is no file"
        raise UserError(f"{missing} {file}")
    return found


def _open(
    path: str,
    name: str,
    source: str | None,
    field: str | None,
    kwargs: Mapping[str, Any],
    delimiter: str | None = None,
) -> Part:
    suffix = os.path.splitext(name.removesuffix(".gz"))[1].lower()
    kind = _SUFFIXES.get(suffix)
    if source in FILE_SOURCES and not (source == "csv" and kind == "tsv"):
        kind = source
    if kind is None:
        endings = ", ".join(_SUFFIXES)
        raise UserError(f"{name} ends in none of {endings}; name its kind as source")
    if field is not None and kind != "json":
        raise UserError(f"field is {field}, but {name} is no JSON file")
    if os.path.getsize(path) == 0:
        raise UserError(f"{name} is empty")
    if kind == "parquet":
        try:
            table = load_dataset("parquet", data_files=[glob.escape(path)], split="train", **kwargs)
        except Exception as error:  # pyarrow's and the library's own
            reason = str(error.__cause__ or error)
            raise UserError(f"{name} cannot be read as Parquet: {reason}") from error
        return TypedRows(table, name)
    return TextRows(path, name, delimiter=delimiter or _DELIMITERS.get(kind), field=field)


def _from_library(
    source: str, data_files: Any, field: str | None, kwargs: Mapping[str, Any]
) -> dict[str, list[Part]]:
    builder = load_dataset_builder(source, data_files=data_files, **kwargs)
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in ("json", "csv"):
        if field is not None:
            raise UserError(f"field is {field}, but {source} has no JSON files")
        loaded = load_dataset(source, data_files=data_files, **kwargs)
        return {str(name): [TypedRows(table, source)] for name, table in loaded.items()}
    settings = {key: kwargs[key] for key in ("cache_dir", "token") if key in kwargs}
    download = datasets.DownloadManager(download_config=datasets.DownloadConfig(**settings))
    delimiter = getattr(builder.config, "delimiter", None) or getattr(builder.config, "sep", None)
    splits = {}
    for name, urls in builder.config.data_files.items():
        paths = download.download(list(urls))
        splits[str(name)] = [
            _open(
                path,
                url,
                kind,
                field or getattr(builder.config, "field", None),
                {},
                None if url.removesuffix(".gz").endswith(".tsv") else delimiter,
            )
            for path, url in zip(paths, urls, strict=True)
        ]
    return splits
