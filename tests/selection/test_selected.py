# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
from omegaconf import OmegaConf

from mos_tune.data.selection_file import write_selection
from mos_tune.datasets import skill_dataset
from mos_tune.errors import UserError
from mos_tune.selection.selected import (
    choose_any,
    choose_hardest,
    write_config,
)
from mos_tune.tokenizers import CharTokenizer

SCORES = {2: 0.5, 3: 1.0, 5: 1.01, 7: 0.9, 8: 0.9, 9: 3.0, 11: 0.1, 12: 0.2}
INDICES = sorted(SCORES)


@pytest.mark.parametrize(
    ("fraction", "chosen"),
    [
        (0.5, [3, 7, 8, 2]),
        # A share of all of them, of which two are above 1.
        (1, [3, 7, 8, 2, 12, 11]),
        (0.01, [3]),
    ],
)
def test_the_highest_scores_up_to_one_are_chosen(fraction, chosen):
    assert choose_hardest("dataset.a", INDICES, SCORES, fraction) == chosen


def test_a_dataset_that_no_instruction_helps_is_refused():
    with pytest.raises(UserError, match="^dataset.a: none of its 2 examples has an IFD of at most"):
        choose_hardest("dataset.a", [5, 9], SCORES, 0.5)


def test_a_random_choice_is_a_function_of_its_arguments():
    indices = list(range(0, 400, 2))
    chosen = choose_any("a", indices, 0.1, 0)
    assert len(chosen) == 20 and chosen == sorted(set(chosen)) and set(chosen) <= set(indices)
    assert chosen == choose_any("a", indices, 0.1, 0)
    assert chosen != choose_any("a", indices, 0.1, 1)
    assert chosen != choose_any("b", indices, 0.1, 0)


def test_a_config_gets_the_selections_and_a_folder_of_its_own(tmp_path):
    config = {
        "output_dir": "of all",
        "log_dir": "${output_dir}/logs",
        "selection": {"fraction": 0.2},
        "dataset": {"a b": {"_component_": "x", "max_epochs": 7}, "数学": {"_component_": "y"}},
        "validation": {"fraction": 0.2},
    }
    files = {name: tmp_path / f"{name}.jsonl" for name in config["dataset"]}
    write_config(tmp_path / "ifd" / "config.yaml", OmegaConf.create(config), files)
    written = OmegaConf.to_container(OmegaConf.load(tmp_path / "ifd" / "config.yaml"))
    for name, section in written["dataset"].items():
        assert section.pop("selection") == str(files[name])
    del config["selection"]
    assert written == config | {"output_dir": str(tmp_path / "ifd" / "run")}


def test_rows_are_written_where_the_dataset_keeps_them(tmp_path):
    path = tmp_path / "a.jsonl"
    dataset = skill_dataset(CharTokenizer(), skill="copy", size=9)
    for data, row in ((dataset, {"row": dataset._data[4]}), ([0] * 9, {})):
        write_selection(path, data, [4], {4: 0.5})
        assert [json.loads(line) for line in path.open()] == [{"index": 4, "score": 0.5} | row]
