# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import gzip
import os

import datasets
import pytest

from mos_tune.datasets.sources import load_rows
from mos_tune.errors import UserError

BOM = b"\xef\xbb\xbf"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def read(tmp_path):
    def read(name, content, source=None, split="train", **options):
        file = tmp_path / name
        file.write_bytes(content)
        rows = load_rows(source, str(file), split, **options)
        return [rows[index] for index in range(len(rows))]

    return read


AB = [{"a": "1"}, {"a": "é\u2028"}]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("x.jsonl", '{"a": "1"}\n{"a": "é\u2028"}'.encode(), AB),
        ("x.ndjson", b'{"a": "1"}\r\n\r\n{"a": "\\u00e9\\u2028"}\r\n', AB),
        ("x.json", b'{"a": "1"}\n' + BOM + '{"a": "é\u2028"}\n'.encode(), AB),
        ("x.json", BOM + ' [\n{"a": "1"},{"a": "é\u2028"} ]\n'.encode(), AB),
        ("x.JSON", '[{"a":"1"}\n,\n{"a": "é\u2028"}]'.encode(), AB),
        ("x.json.gz", gzip.compress('[{"a": "1"}, {"a": "é\u2028"}]'.encode(), mtime=0), AB),
        ("x.csv", BOM + 'a\r\n1\r\n"é\u2028"\r\n\r\n'.encode(), AB),
        (
            "x.csv",
            b'a,b\n"x\ny",\n"say ""hi""",NA\n',
            [{"a": "x\ny", "b": ""}, {"a": 'say "hi"', "b": "NA"}],
        ),
        ("x.tsv", b'a\tb\n"x\ty"\t1,5\n', [{"a": "x\ty", "b": "1,5"}]),
        ("x.csv.gz", gzip.compress(b"a\n007\n", mtime=0), [{"a": "007"}]),
        ("x.json", b"[]", []),
    ],
)
def test_rows(read, name, content, rows):
    assert read(name, content) == rows


def test_the_kind_may_be_named(read):
    assert read("x.txt", b'{"a": "1"}', "json") == read("x.data", b"a\n1\n", "csv") == AB[:1]
    assert read("x.tsv", b"a\tb\n1\t2\n", "csv") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        (
            "x.jsonl",
            b'{"a": 1}\n\n{"a": \n',
            {},
            r"line 3 of FILE \(row 2\) is not valid JSON: Exp",
        ),
        (
            "x.jsonl",
            b'{"a": 1}\n{"a": "\xff"}',
            {},
            r"line 2 of FILE \(row 2\) is not UTF-8: byte 0xff",
        ),
        (
            "x.jsonl",
            b'{"a": 1}\n"a"\n',
            {},
            r"line 2 of FILE \(row 2\) holds str, expected an object",
        ),
        ("x.jsonl", b'{"a": 1}\n' + b"[" * 200_000, {}, r"line 2 of FILE .* is nested too deeply"),
        (
            "x.json",
            '[{"a": 1}]'.encode("utf-16"),
            {},
            "line 1 of FILE .* is not UTF-8: byte 0xff at p",
        ),
        (
            "x.json",
            b'[{"a": 1},\n{"a": 2}\n',
            {},
            r"line 3 of FILE is not valid JSON: Expecting ','",
        ),
        ("x.json", b'[{"a": 1},\n{"a" 2}]', {}, "line 2 of FILE is not valid JSON: Expecting ':'"),
        ("x.json", b'[{"a": 1}]\n[{"a": 2}]', {}, "line 2 of FILE is not valid JSON: Extra data"),
        ("x.json", b'[{"a": 1}, 3]', {}, r"line 1 of FILE \(row 2\) holds int, expected an object"),
        (
            "x.json",
            b'[{"a": "1"},\n{"a": "\xff"}]',
            {},
            r"line 2 of FILE \(row 2\) is not UTF-8: byte 0xff at position 7",
        ),
        ("x.json", b"[" * 200_000, {}, "FILE is nested too deeply"),
        (
            "x.json",
            b'{\n"data": [{"a": 1}]}',
            {},
            "FILE is one object with the keys data; name that",
        ),
        ("x.json", b'{"data": 1, "b": 2}', {"field": "c"}, "FILE has no field c; it has data, b"),
        ("x.json", b'[{"a": 1}]', {"field": "data"}, "FILE is no object, so it has no field data"),
        (
            "x.json",
            b'{"data": 3}',
            {"field": "data"},
            "line 1 of FILE .*Expecting an array of rows",
        ),
        ("x.json", b'{"b": 1 "data": []}', {"field": "data"}, "line 1 of FILE .*Expecting ','"),
        ("x.csv", b"a,b\n1,2\n1\n", {}, r"line 3 of FILE \(row 2\) has 1 values, the header has 2"),
        ("x.csv", b"a,b\n1,2,3\n", {}, r"line 2 of FILE \(row 1\) has 3 values, the header has 2"),
        ("x.csv", b'a,b\n1,"2\n3,4\n', {}, "line 2 of FILE: unexpected end of data"),
        ("x.tsv", b'a\tb\n1\t2\n"Yes" he said\t4\n', {}, "line 3 of FILE: '\t' expected after"),
        ("x.csv", b"a,b\n1,\xff\n", {}, "line 2 of FILE: is not UTF-8: byte 0xff"),
        ("x.csv", b"a,b,a\n1,2,3\n", {}, "FILE has a column twice in its header: a, b, a"),
        ("x.csv", b"a\n1\n", {"field": "data"}, "field is data, but FILE is no JSON file"),
        ("x.json.gz", b"\x1f\x8b\x08cut off", {}, "FILE cannot be read: "),
        (
            "x.json.gz",
            gzip.compress(b"[]" * 99, mtime=0)[:12] + b"\xff" * 9,
            {},
            "FILE cannot be rea",
        ),
        ("x.json", b'{"\xff": 1, "data": []}', {"field": "data"}, "FILE is not UTF-8: byte 0xff"),
        ("x.parquet", b"PAR1 no", {}, "FILE cannot be read as Parquet: "),
        (
            "x.jsonl",
            b'{"a": ' + b"9" * 5000 + b"}",
            {},
            "line 1 of FILE \\(row 1\\) Exceeds the limit",
        ),
        ("x.json", b"", {}, "FILE is empty"),
        ("x.txt", b"a", {}, "FILE ends in none of .json, .jsonl, .*; name its kind as source"),
        ("x.json", b"[]", {"revision": "main"}, "revision: no option of files on this machine"),
        ("x.json", b"[]", {"split": "train[:-1:2]"}, "split: "),
    ],
)
def test_damaged_files_are_named_with_the_line(read, tmp_path, name, content, options, said):
    with pytest.raises(UserError, match=f"^{said.replace('FILE', str(tmp_path / name))}") as caught:
        read(name, content, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "data_files", "said"),
    [
        (None, None, "source and data_files are both missing"),
        ("json", None, "source is json, which needs data_files"),
        (None, "no/such.json", "there is no file no/such.json"),
        (None, "no/*.json", r"no file matches no/\*.json"),
        (None, ["."], r"\. is a folder; a folder goes alone"),
        (None, "https://example.org/x.json", "source must name the kind of files of https://"),
    ],
)
def test_files_that_are_not_there(source, data_files, said):
    with pytest.raises(UserError, match=f"^{said}"):
        load_rows(source, data_files, "train")


def test_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    with pytest.raises(UserError, match="there is no file .*/loop.json"):
        load_rows(None, tmp_path / "loop.json", "train")


def test_a_name_with_the_characters_of_a_pattern(tmp_path):
    for name, value in (("a[1].jsonl", "1"), ("a1.jsonl", "2")):
        (tmp_path / name).write_text(f'{{"a": "{value}"}}\n')
    rows = load_rows(None, str(tmp_path / "a[1].jsonl"), "train")
    assert [rows[i]["a"] for i in range(len(rows))] == ["1"]
    table = datasets.Dataset.from_list([{"a": "3"}])
    table.to_parquet(str(tmp_path / "b[1].parquet"))
    assert load_rows(None, str(tmp_path / "b[1].parquet"), "train")[0] == {"a": "3"}


def test_a_file_that_changes_is_not_read_on(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": "1"}\n{"a": "2"}\n')
    rows = load_rows(None, str(file), "train")
    assert rows[1] == {"a": "2"}
    file.write_text('{"a": "10"}\n{"a": "2"}\n')
    os.utime(file, (1, 1))
    with pytest.raises(UserError, match="x.jsonl has been changed since its rows were counted"):
        rows[1]
