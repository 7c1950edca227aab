# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A dataset that is what another run drew, in order."""

import json

from omegaconf import OmegaConf
from torchtune import config

from mos_tune.sections import read_datasets


def replay_dataset(tokenizer, *, settings: str, examples: str) -> list[dict]:
    """Give the rows named in ``examples.jsonl``, of the datasets of the config ``settings``."""
    datasets = {}
    for name, section in read_datasets(OmegaConf.load(settings).dataset).items():
        datasets[name] = config.instantiate(section.builder, tokenizer)
    with open(examples, encoding="utf-8") as file:
        steps = [json.loads(line)["examples"] for line in file]
    return [datasets[name][index] for step in steps for name, index in step]
