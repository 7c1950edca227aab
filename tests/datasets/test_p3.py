# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import datasets
import pytest

from mos_tune.datasets.p3 import draw_p3, p3_dataset
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def p3(tmp_path):
    """A folder of three subsets of P3's schema, in the three forms that P3 has."""
    root = tmp_path / "p3"

    def write(subset, split, rows):
        (root / subset).mkdir(parents=True, exist_ok=True)
        table = datasets.Dataset.from_list(rows)
        table.to_parquet(str(root / subset / f"{split}-00000-of-00001.parquet"))

    def row(text, answer, **more):
        return {
            "inputs": [1, 2],
            "inputs_pretokenized": text,
            "targets": [3],
            "targets_pretokenized": answer,
            **more,
        }

    write("big", "train", [row(f"big {i} ", f"\n{i}") for i in range(50)])
    write("big", "validation", [row("held out", "never")])
    # Three candidates per question, of which the second is right.
    candidates = [
        row(f"eval {i}", "right" if k == 1 else "wrong", idx=[i, k], is_correct=k == 1, weight=1.0)
        for i in range(8)
        for k in range(3)
    ]
    write("small_score_eval", "train", candidates)
    write("only_validation", "validation", [row("held out", "never")])
    (root / ".hidden").mkdir()
    return str(root)


def inputs(rows):
    return list(rows["inputs_pretokenized"])


def test_every_subset_gives_its_share(p3):
    rows = draw_p3(p3, examples_per_subset=10)
    assert rows.column_names == ["inputs_pretokenized", "targets_pretokenized"]
    names = [text.split()[0] for text in inputs(rows)]
    assert names == ["big"] * 10 + ["eval"] * 8
    assert len(set(inputs(rows))) == 18


def test_only_right_answers_are_drawn(p3):
    rows = draw_p3(p3, ["small_score_eval"], examples_per_subset=1000)
    assert list(rows["targets_pretokenized"]) == ["right"] * 8


def test_the_draw_depends_on_the_seed_and_the_subset_alone(p3):
    alone = inputs(draw_p3(p3, ["big"], examples_per_subset=10))
    with_others = inputs(draw_p3(p3, ["small_score_eval", "big"], examples_per_subset=10))
    assert with_others[-10:] == alone
    assert inputs(draw_p3(p3, ["big"], examples_per_subset=10, seed=1)) != alone
    assert max(int(text.split()[1]) for text in alone) > 10


def test_small_subsets_are_counted_and_those_without_the_split_named(p3, caplog):
    draw_p3(p3, examples_per_subset=10)
    assert "18 examples of 2 subsets, 1 of which have fewer than 10; 1 subsets" in caplog.text
    assert "['only_validation']" in caplog.text


def test_a_json_lines_copy_of_a_draw_trains_with_torchtune_s_builder(p3, tmp_path):
    from torchtune.datasets import instruct_dataset

    file = tmp_path / "p3.jsonl"
    draw_p3(p3, examples_per_subset=5).to_json(file)
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 10
    dataset = instruct_dataset(
        CharTokenizer(),
        source="json",
        data_files=str(file),
        column_map={"input": "inputs_pretokenized", "output": "targets_pretokenized"},
    )
    assert len(dataset) == 10


def test_examples_are_tokenised_with_the_prompt_masked(p3):
    tokenizer = CharTokenizer()
    dataset = p3_dataset(tokenizer, source=p3, subsets=["big"], examples_per_subset=50)
    assert len(dataset) == 50
    trained = [label for label in dataset[7]["labels"] if label != -100]
    # Leading and trailing blanks come from P3's templates.
    assert trained == tokenizer.encode("7", add_bos=False, add_eos=True)
    assert "big 7<" in tokenizer.decode(dataset[7]["tokens"], skip_special_tokens=False)


def test_an_empty_answer_makes_a_row_unusable(p3):
    row = {"inputs_pretokenized": "a", "targets_pretokenized": " \n"}
    datasets.Dataset.from_list([row]).to_parquet(f"{p3}/blank/train-00000-of-00001.parquet")
    dataset = p3_dataset(CharTokenizer(), source=p3, subsets=["blank"])
    with pytest.raises(UnusableExample, match="a blank answer"):
        dataset[0]


@pytest.mark.parametrize("answers", ["2024-05-01", 7, None])
def test_answers_that_a_library_takes_for_something_else_are_refused(tmp_path, answers):
    folder = tmp_path / "p3" / "dates"
    folder.mkdir(parents=True)
    row = {"inputs_pretokenized": "when?", "targets_pretokenized": answers}
    (folder / "train.jsonl").write_text((json.dumps(row) + "\n") * 3)
    with pytest.raises(UserError, match="subset dates of .* as targets_pretokenized, expected tex"):
        draw_p3(str(tmp_path / "p3"))


def test_a_split_that_no_subset_has_is_refused(p3):
    with pytest.raises(UserError, match="no split test in any of its 3 subsets"):
        draw_p3(p3, split="test")


def test_fewer_than_one_example_per_subset_is_refused(p3):
    with pytest.raises(UserError, match="examples_per_subset.*at least 1, got 0"):
        draw_p3(p3, examples_per_subset=0)


def test_a_part_is_kept_of_all_subsets_together(p3):
    drawn = [p3_dataset(CharTokenizer(), source=p3, fraction=0.5, seed=seed) for seed in (0, 0, 1)]
    # 50 and 8 examples; the last ones are the second subset's.
    assert len(drawn[0]) == 29
    assert drawn[0].indices[-1] >= 50
    assert drawn[0].indices == drawn[1].indices != drawn[2].indices
