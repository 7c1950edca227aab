# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import shutil

import pytest
import torch
from helpers.examples import EXAMPLES, read_lines, run_python
from helpers.response_losses import losses_by_transformers
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

SCRIPT = EXAMPLES / "hf_trainer.py"
# An update at 10 and 20; a checkpoint between the two, and one at the end.
STEPS, SAVED = 20, 15
OPTIONS = f"--max_steps {STEPS} --save_steps {SAVED} --logging_steps 1 --use_cpu --report_to none"
ONE = [*OPTIONS.split(), "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"]
TWO = [*OPTIONS.split(), "--per_device_train_batch_size", "4"]
LAUNCHER = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCHER += ["--main_process_port", "0"]

# The script, and beside it a file for each rank of the rows that its Trainer trained on.
WATCHED = """
import json, os, runpy, sys
from transformers import Trainer

script, folder = sys.argv[1:3]
compute_loss = Trainer.compute_loss


def watched(self, model, inputs, *rest):
    with open(f"{folder}/trained_on_{os.environ['RANK']}.jsonl", "a") as file:
        for row in inputs["input_ids"].tolist():
            tokens = [token for token in row if token != 0]
            print(json.dumps([self.state.global_step + 1, tokens]), file=file)
    return compute_loss(self, model, inputs, *rest)


Trainer.compute_loss = watched
sys.path[0] = os.path.dirname(script)
sys.argv = [script, *sys.argv[3:]]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def datasets():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import tiny

        return tiny.datasets()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    run_python(SCRIPT, *ONE, "--output_dir", folder)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    watched = folder / "watched.py"
    watched.write_text(WATCHED)
    run_python(*LAUNCHER, watched, SCRIPT, folder, *TWO, "--output_dir", folder)
    return folder


def resumed(folder, to):
    """Make a copy of a run as if killed two steps after its checkpoint, and start it again."""
    shutil.copytree(folder, to)
    shutil.rmtree(to / f"checkpoint-{STEPS}")
    (to / "mixture.png").unlink()
    for name in ("mixture.jsonl", "examples.jsonl"):
        lines = (to / name).read_text().splitlines(keepends=True)
        whole = [line for line in lines if json.loads(line)["step"] <= SAVED + 2]
        (to / name).write_text("".join(whole) + '{"ev')
    run_python(SCRIPT, *ONE, "--output_dir", to)
    return to


def logged(folder):
    """What Trainer logged at each step, by name; its fraction of an epoch is no such thing."""
    state = json.loads((folder / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    steps = {}
    for entry in state["log_history"]:
        step = steps.setdefault(entry["step"], {})
        step.update((key, entry[key]) for key in entry.keys() - {"step", "epoch"})
    return steps


def assert_close(found, expected, key=""):
    """Compare nested values: probabilities to 1e-8, what was measured in float32 to 1e-5."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_close(found[name], value, f"{key}/{name}")
    elif isinstance(expected, float):
        rel, abs_ = (0, 1e-8) if "probabilit" in key else (1e-5, 1e-5)
        assert found == pytest.approx(expected, rel=rel, abs=abs_), key
    else:
        assert found == expected, key


def assert_same_run(found, expected):
    """The same examples; numbers as float32 gives them when it sums in another order."""
    assert read_lines(found / "examples.jsonl") == read_lines(expected / "examples.jsonl")
    pairs = [read_lines(folder / "mixture.jsonl") for folder in (found, expected)]
    for line, right in zip(*pairs, strict=True):
        assert_close(line, right)
    histories = logged(found), logged(expected)
    for step, right in histories[1].items():
        for key, value in right.items():
            # Trainer rounds the loss to 4 places.
            assert histories[0][step][key] == pytest.approx(value, rel=1e-5, abs=1e-4), (step, key)


def test_the_record_is_complete(one):
    steps = {}
    for line in read_lines(one / "mixture.jsonl"):
        steps.setdefault(line["event"], []).append(line["step"])
    assert steps == {
        "start": [0],
        "validation": [0, 10, 20],
        "update": [10, 20],
        "end": [STEPS],
    }
    assert (one / "mixture.png").stat().st_size > 0


def test_a_checkpoint_holds_what_belongs_to_its_step(one):
    lines = read_lines(one / "mixture.jsonl")
    state = torch.load(one / f"checkpoint-{STEPS}" / "mixture.pt")
    assert state["step"] == STEPS
    assert state["tally"]["response_tokens"].tolist() == list(lines[-1]["response_tokens"].values())
    (update,) = (line for line in lines if (line["event"], line["step"]) == ("update", STEPS))
    assert state["reward"]["smoothed"].tolist() == list(update["rewards"].values())


def test_losses_are_the_models(one, datasets):
    train, held_out = datasets
    drawn = read_lines(one / "examples.jsonl")[SAVED]
    assert drawn["step"] == SAVED + 1
    rows = {name: [] for name in train}
    for name, index in drawn["examples"]:
        rows[name].append(train[name][index])
    before = LlamaForCausalLM.from_pretrained(one / f"checkpoint-{SAVED}")
    here = logged(one)
    sums = {name: sums_of(before, part) for name, part in rows.items() if part}
    for name, (loss, count) in sums.items():
        assert here[SAVED + 1][f"loss/{name}"] == pytest.approx(loss / count, rel=1e-5)
    loss, count = map(sum, zip(*sums.values(), strict=True))
    assert here[SAVED + 1]["loss"] == pytest.approx(loss / count, abs=6e-5)
    after = LlamaForCausalLM.from_pretrained(one / f"checkpoint-{STEPS}")
    for name, part in held_out.items():
        loss, count = sums_of(after, [part[index] for index in range(len(part))])
        assert here[STEPS][f"val_loss/{name}"] == pytest.approx(loss / count, rel=1e-5)


def sums_of(model, rows):
    """Loss sum and number of response tokens."""
    counts = [sum(label != -100 for label in row["labels"]) for row in rows]
    losses = [losses_by_transformers(model, row, 0)[0] for row in rows]
    return sum(map(float.__mul__, losses, map(float, counts))), sum(counts)


def test_resumed_in_the_middle_it_is_the_run_that_never_stopped(one, tmp_path):
    again = resumed(one, tmp_path / "again")
    assert (again / "mixture.png").exists()
    for name in ("examples.jsonl", "mixture.jsonl"):
        assert read_lines(again / name) == read_lines(one / name)
    assert logged(again) == logged(one)
    weights, right = (
        load_file(folder / f"checkpoint-{STEPS}" / "model.safetensors") for folder in (again, one)
    )
    assert all(torch.equal(weights[name], right[name]) for name in right)


def test_two_processes_train_on_what_one_draws(one, two, datasets):
    assert_same_run(two, one)
    ranks = [
        [json.loads(line) for line in (two / f"trained_on_{rank}.jsonl").read_text().splitlines()]
        for rank in (0, 1)
    ]
    assert len(ranks[0]) == len(ranks[1]) == STEPS * 4
    drawn = [
        [line["step"], datasets[0][name][index]["tokens"]]
        for line in read_lines(one / "examples.jsonl")
        for name, index in line["examples"]
    ]
    assert sorted(ranks[0] + ranks[1]) == sorted(drawn)


def test_what_two_processes_began_one_ends(one, two, tmp_path):
    assert_same_run(resumed(two, tmp_path / "again"), one)
