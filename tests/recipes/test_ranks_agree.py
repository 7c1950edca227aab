# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Ranks that no longer hold the same mixture do not go on."""

from helpers.runs import config, tune


def test_a_planted_divergence_stops_the_run_and_names_the_rank(tmp_path):
    settings = config(tmp_path)
    settings["reward"]["_component_"] = "helpers.components.DivergingReward"
    run = tune(settings, ok=False)
    assert run.code != 0
    message = "mos-tune stopped: after step 4, rank 1 has another scorer, reward, probabilities"
    assert run.output.count(message) == 1 and f"{message} than rank 0;" in run.output
    assert len(run.examples()) == 4 and not run.events("update")
