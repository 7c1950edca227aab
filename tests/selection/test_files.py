# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

from omegaconf import OmegaConf

from mos_tune.datasets import skill_dataset
from mos_tune.selection.files import write_config, write_selection
from mos_tune.tokenizers import CharTokenizer


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
