# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from itertools import count

import datasets
import pyarrow as pa
import pytest
from omegaconf import OmegaConf
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchtune.datasets import instruct_dataset

from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer
from mos_tune.training.data import Examples, MixtureData, load_data
from mos_tune.training.fingerprint import check_same_examples, fingerprints

ROWS = [
    {"input": f"say {i}", "output": f"it is {i}", "more": [{"n": i, "x": None if i % 3 else 0.5}]}
    for i in range(2500)
]
WHOLE = datasets.Dataset.from_list(ROWS)


class Table(Dataset):
    """Keeps its rows as torchtune's datasets do; its tokens tell nothing of them."""

    def __init__(self, rows):
        self._data = rows

    def __len__(self):
        return len(self._data)

    def __getitem__(self, index):
        return {"tokens": [1, 2], "labels": [-100, 2]}


def fingerprint(dataset):
    data = MixtureData({"a": Examples("dataset.a", dataset, [])}, {})
    return fingerprints(data)["dataset.a"]


def of_file(path, rows=ROWS, max_seq_len=64, **options):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    tokenizer = CharTokenizer(max_seq_len=max_seq_len)
    return fingerprint(instruct_dataset(tokenizer, source="json", data_files=str(path), **options))


def refusal(here, saved):
    with pytest.raises(UserError) as error:
        check_same_examples({"dataset.a": here}, {"dataset.a": saved})
    return str(error.value)


def with_row(**columns):
    return [*ROWS[:1234], ROWS[1234] | columns, *ROWS[1235:]]


def test_one_letter_in_a_file_is_found_and_its_path_is_not(tmp_path):
    first = of_file(tmp_path / "a.jsonl")
    assert first["rows"] and first["tokens"] and first["examples"] == len(ROWS)
    check_same_examples({"a": of_file(tmp_path / "moved" / "b.jsonl")}, {"a": first})
    # Not among the examples whose tokens are hashed.
    other = of_file(tmp_path / "c.jsonl", with_row(output="it is 1233"))
    assert other["tokens"] == first["tokens"]
    message = refusal(other, first)
    assert message.startswith("dataset.a has other rows than the checkpoint was written with")
    assert other["rows"] in message and first["rows"] in message


def test_another_tokenizer_or_option_is_found_and_told_from_other_rows(tmp_path):
    first = of_file(tmp_path / "a.jsonl")
    swapped = {"input": "output", "output": "input"}
    for other in (
        of_file(tmp_path / "b.jsonl", column_map=swapped),
        of_file(tmp_path / "c.jsonl", train_on_input=True),
        of_file(tmp_path / "d.jsonl", max_seq_len=9),
    ):
        message = refusal(other, first)
        assert "dataset.a has the same rows, but other tokens or labels" in message
        assert other["tokens"] in message and first["tokens"] in message


def test_without_a_table_tokens_are_compared(tmp_path):
    one, other = (
        [{"tokens": [k, 2], "labels": [-100, 2]} for k in range(n, 40 + n)] for n in (0, 1)
    )
    assert fingerprint(one)["rows"] is None
    message = refusal(fingerprint(other), fingerprint(one))
    assert "dataset.a has other examples than the checkpoint was written with" in message
    assert "dataset.a has 39 examples, the checkpoint was written with 40" in refusal(
        fingerprint(one[1:]), fingerprint(one)
    )


@pytest.mark.parametrize(
    "rows",
    [
        with_row(input="say 123"),
        with_row(more=[{"n": 1235, "x": None}]),
        with_row(more=[{"n": 1234, "x": 0.25}]),
        with_row(more=[]),
        with_row(more=None),
        with_row(output=None),
        with_row(output=""),
        [ROWS[1], ROWS[0], *ROWS[2:]],
        # The same letters, cut elsewhere.
        [*ROWS[:-2], ROWS[-2] | {"input": "say 2498s"}, ROWS[-1] | {"input": "ay 2499"}],
        [{"inputs" if key == "input" else key: row[key] for key in row} for row in ROWS],
    ],
)
def test_whatever_changes_in_the_rows_changes_the_hash(rows):
    here, there = fingerprint(Table(datasets.Dataset.from_list(rows))), fingerprint(Table(WHOLE))
    assert here["rows"] != there["rows"] and len(rows) == len(ROWS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", None], ["a", ""]),
        ([1, None], [1, 0]),
        ([[1], [2, 3]], [[1, 2], [3]]),
        ([[1], None], [[1], []]),
        ([1.5, 2.0], [1.25, 2.0]),
        ([True, False], [True, True]),
    ],
)
def test_values_that_lie_in_memory_alike_are_told_apart(one, other):
    first, second = (
        fingerprint(Table(datasets.Dataset.from_dict({"column": values})))
        for values in (one, other)
    )
    assert first["rows"] != second["rows"]


def test_how_rows_lie_in_memory_does_not_change_the_hash():
    schema = WHOLE.features.arrow_schema
    large = pa.schema([schema.field("more"), pa.field("output", pa.large_string())])
    other = pa.table({name: WHOLE.data.column(name) for name in large.names}).cast(large)
    other = other.append_column("input", WHOLE.data.column("input").cast(pa.large_string()))
    halves = [WHOLE.select(range(700)), WHOLE.select(range(700, 2500))]
    shuffled = WHOLE.shuffle(seed=1)
    order = [row["more"][0]["n"] for row in shuffled]
    restored = shuffled.select([order.index(i) for i in range(len(ROWS))])
    for table in (datasets.Dataset(other), datasets.concatenate_datasets(halves), restored):
        assert fingerprint(Table(table))["rows"] == fingerprint(Table(WHOLE))["rows"]
    assert fingerprint(Table(shuffled))["rows"] != fingerprint(Table(WHOLE))["rows"]


def test_parts_and_joins_of_datasets_are_looked_into():
    first, second = Table(WHOLE.select(range(100))), Table(WHOLE.select(range(100, 200)))
    part = fingerprint(Subset(Table(WHOLE), range(100)))
    assert part["rows"] == fingerprint(first)["rows"]
    joined = fingerprint(ConcatDataset([first, second]))
    assert None not in joined.values()
    assert joined["rows"] != fingerprint(ConcatDataset([second, first]))["rows"]


def test_a_dataset_that_is_never_the_same_twice_is_reported_and_not_refused(caplog):
    class Random(Table):
        calls = count()

        def __getitem__(self, index):
            return {"tokens": [1, next(self.calls)], "labels": [-100, 2]}

    here, saved = fingerprint(Random(WHOLE)), fingerprint(Random(WHOLE))
    check_same_examples({"dataset.a": here}, {"dataset.a": saved})
    assert here["tokens"] is None and here["rows"] is not None
    assert "dataset.a gives another example each time one is read" in caplog.text


def test_an_example_that_is_left_out_of_training_has_a_part_in_the_fingerprint_too():
    class Gappy(Table):
        left_out = {3}

        def __getitem__(self, index):
            if index in self.left_out:
                raise UnusableExample("no answer")
            return super().__getitem__(index)

    class Whole(Gappy):
        left_out = set()

    rows = WHOLE.select(range(20))
    assert fingerprint(Gappy(rows)) == fingerprint(Gappy(rows))
    assert fingerprint(Gappy(rows))["tokens"] != fingerprint(Whole(rows))["tokens"]


def test_held_out_sets_of_their_own_have_a_fingerprint_and_held_out_parts_have_not():
    skill = {"_component_": "mos_tune.datasets.skill_dataset", "skill": "copy", "size": 40}
    fraction = {"every_n_steps": 1, "fraction": 0.2, "max_examples": 3}
    own = {"every_n_steps": 1, "dataset": {"a": skill | {"seed": 1}}, "max_examples": 3}
    taken = [
        fingerprints(
            load_data(
                OmegaConf.create({"dataset": {"a": skill}, "validation": validation}),
                CharTokenizer(max_seq_len=64),
                seed=5,
            )
        )
        for validation in (None, fraction, own)
    ]
    assert taken[0] == taken[1] == {"dataset.a": taken[2]["dataset.a"]}
    assert list(taken[2]) == ["dataset.a", "validation.dataset.a"]
    check_same_examples(taken[2], taken[0])
    other = {"validation.dataset.a": taken[0]["dataset.a"]}
    with pytest.raises(UserError, match="^validation.dataset.a has other examples than the ch"):
        check_same_examples(taken[2], other)
