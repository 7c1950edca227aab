# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import signal

import pytest
from helpers.runs import config, mos_tune_run
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from mos_tune.endings import Ending
from mos_tune.launcher import _options, of_failures, of_signal

RESUMES = "mos-tune: stopped by {}; resume_from_checkpoint=True resumes: code 75"
TINY = ("full_finetune_mos_distributed", "--config", "tiny_llama3_mos")


def failed(*ranks):
    """torchrun's report, of (rank, exit code, seconds after the first)."""
    failures = {}
    for rank, code, after in ranks:
        failures[rank] = ProcessFailure(rank, 100 + rank, code, error_file="none")
        failures[rank].timestamp = 1000 + after
    return failures


@pytest.mark.parametrize(
    ("ranks", "line", "code"),
    [
        ([(0, 75, 0), (1, 75, 0)], RESUMES.format("a signal"), 75),
        ([(0, 75, 0), (1, -15, 1)], RESUMES.format("a signal"), 75),
        ([(0, 1, 0)], "mos-tune: rank 0 ended with exit code 1; its output says why", 1),
        (
            [(0, -15, 1), (1, 1, 0)],
            "mos-tune: rank 1 ended with exit code 1; its output says why",
            1,
        ),
        (
            [(0, 1, 0), (1, -9, 0)],
            "mos-tune: rank 1 (pid 101) was killed by SIGKILL; is the machine out of memory?",
            137,
        ),
        # Rank 1 did not end by itself, and torchrun killed it.
        (
            [(0, 3, 0), (1, -9, 30)],
            "mos-tune: rank 0 ended with exit code 3; its output says why",
            3,
        ),
        ([(0, -11, 0), (1, 1, 0)], "mos-tune: rank 0 (pid 100) was killed by SIGSEGV", 139),
        (
            [(0, -15, 0), (1, -15, 0)],
            "mos-tune: rank 0 (pid 100) was killed by SIGTERM, "
            "rank 1 (pid 101) was killed by SIGTERM",
            143,
        ),
    ],
)
def test_the_rank_that_failed_first_is_named(ranks, line, code):
    assert of_failures(failed(*ranks), []) == (line, code)


def test_the_reason_that_a_rank_left_is_told():
    left = [Ending(0, 1, "the disk is full"), Ending(1, None, "")]
    line = "mos-tune: rank 0 ended with exit code 1: the disk is full"
    assert of_failures(failed((0, 1, 0), (1, -15, 1)), left) == (line, 1)
    # It was about to end so, and then crashed; or left it when it was started before.
    assert "full" not in of_failures(failed((0, -11, 0)), left)[0]
    assert "full" not in of_failures(failed((0, 2, 0)), left)[0]


@pytest.mark.parametrize(
    ("left", "code", "words"),
    [
        ([(75, ""), (75, "")], 75, RESUMES.format("SIGTERM")),
        ([(75, ""), (None, "asked to stop")], 75, RESUMES.format("SIGTERM")),
        ([(0, ""), (0, "")], 0, ""),
        ([(0, ""), (None, "")], 143, "nothing was saved"),
        ([(None, ""), (None, "")], 143, "mos-tune stopped by SIGTERM; nothing was saved after it"),
        ([(None, "asked to stop"), (None, "asked to stop")], 143, "see --shutdown-timeout"),
        ([], 143, "nothing was saved"),
    ],
)
def test_a_signal_that_the_launcher_got(left, code, words):
    endings = [Ending(rank, *one) for rank, one in enumerate(left)]
    line, found = of_signal(signal.SIGTERM, endings)
    assert found == code
    assert words in line and bool(line) == bool(words)
    assert ("shutdown-timeout" in line) == ("shutdown-timeout" in words)


def test_another_signal_is_named():
    line = "mos-tune stopped by SIGINT; nothing was saved after it"
    assert of_signal(signal.SIGINT, [Ending(0, 130, "")]) == (line, 130)


def test_one_process_on_a_port_of_its_own_is_the_default():
    options = _options(TINY)
    assert options.standalone and options.nproc_per_node == "1"
    assert _options(["--nproc_per_node", "2", *TINY]).standalone


@pytest.mark.parametrize(
    "options",
    [
        ("--nnodes", "2", "--master_addr", "a.b"),
        ("--nnodes=1:4", "--rdzv-backend=c10d", "--rdzv-endpoint=a.b:1"),
        ("--rdzv_endpoint", "a.b:1"),
    ],
)
def test_several_machines_meet_where_they_are_told(options):
    assert not _options([*options, *TINY]).standalone


def test_both_spellings_of_the_config_are_found():
    for words in (TINY[1:], ("--config=tiny_llama3_mos",)):
        found = _options([TINY[0], *words, "a=b", "~c"]).training_script_args
        assert found[0] == "--config" and found[1].endswith("/configs/tiny_llama3_mos.yaml")
        assert found[2:] == ["a=b", "~c"]


def test_a_users_own_program_is_left_alone():
    options = _options(["--module", "my_package.recipe", "--mode", "fast"])
    assert options.training_script == "my_package.recipe"
    assert options.training_script_args == ["--mode", "fast"]


def test_a_run_that_cannot_start_is_said_in_a_line(tmp_path):
    run = mos_tune_run(config(tmp_path), processes="many", ok=False)
    assert run.code == 1
    assert run.output.splitlines()[-1].startswith("mos-tune: torchrun cannot start: Unsupported")
    assert "Traceback" not in run.output


def test_what_a_user_did_wrong_is_the_last_line(tmp_path):
    run = mos_tune_run(config(tmp_path), "optimizer.lr=high", ok=False)
    assert run.code == 1
    end = run.output.splitlines()[-1]
    assert end.startswith("mos-tune: rank 0 ended with exit code 1: optimizer.lr must be a finite")
    assert "Traceback" not in run.output


def test_a_restarted_run_ends_as_its_last_start_did(tmp_path):
    # It is killed at step 2 each time.
    settings = config(tmp_path)
    settings["metric_logger"] = {
        "_component_": "helpers.components.DyingLogger",
        "die_at": 2,
        "log_dir": "${output_dir}/logs",
    }
    run = mos_tune_run(settings, processes=1, launcher=("--max-restarts", "1"), ok=False)
    assert run.code == 137
    assert "was killed by SIGKILL; is the machine out of memory?" in run.output.splitlines()[-1]
    assert run.output.count("SIGKILL; is") == 1
