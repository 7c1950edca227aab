# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Kill a run at random moments, resume it each time, and compare it with one never killed.

    python benchmarks/soak.py [--kills 20] [--seed 0] [--output output/soak]

The run is a user's: ``tune run`` on two processes, with a checkpoint at every step. Launcher and
workers get SIGKILL while they start, in the middle of a step, or as soon as the folder of a
checkpoint being written appears; then the same command is given again. Compared are losses and all
other metrics, examples, ``mixture.jsonl`` and exported weights, bit for bit; any difference ends
the script with status 1. Linux only. About 5 minutes on two cores.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors.torch import load_file

STEPS_PER_EPOCH = 25
# 3.4 million parameters, so that writing takes a while; and all that a state can consist of.
OPTIONS = [
    *("model.embed_dim=256", "model.intermediate_dim=768", "model.attn_dropout=0.1"),
    *("epochs=2", f"max_steps_per_epoch={STEPS_PER_EPOCH}", "batch_size=2"),
    *(
        "gradient_accumulation_steps=2",
        "dataset.count.size=2000",
        "dataset.reverse.size=40",
        "validation.max_examples=8",
    ),
    *("validation.every_n_steps=5", "scorer.update_every=9", "reward.batch_size=8"),
    *("checkpoint.every_n_steps=1", "checkpoint.keep_last=2", "resume_from_checkpoint=True"),
    *("metric_logger.filename=log.txt", "log_examples=True"),
]
NOT_COMPARED = {"tokens_per_second_per_gpu"}  # time
POLL_SECONDS = 0.002


class Life:
    """One start of the run, until it is killed or ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._log = directory.with_suffix(".txt")
        command = [str(Path(sys.executable).with_name("tune")), "run", "--nproc_per_node", "2"]
        command += ["recipes/full_finetune_mos_distributed.py"]
        command += ["--config", "configs/tiny_llama3_mos.yaml", f"output_dir={directory}", *OPTIONS]
        self.started = time.monotonic()
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Wait for something that happens while the run goes on."""
        while not happened():
            if self._process.poll() is not None:
                sys.exit(f"ended too early:\n{self.output()[-3000:]}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End launcher and workers as a machine does that is switched off."""
        # The launcher starts every worker in a session of its own: a process group is not enough.
        doomed = [self._process.pid, *_descendants(self._process.pid)]
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in doomed):
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Wait for the end of the run."""
        if self._process.wait() != 0:
            sys.exit(self.output()[-3000:])

    def output(self) -> str:
        """Give what launcher and workers printed."""
        return self._log.read_text(errors="replace")

    def resumed_from(self) -> int:
        """Give the step this start went on from, 0 for the beginning."""
        found = re.search(r"Resuming from \S*/step_(\d+)", self.output())
        return int(found[1]) if found else 0


def _descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def saved(directory: Path) -> int:
    names = [path.name for path in directory.glob("checkpoints/step_*")]
    return max((int(n[5:]) for n in names if n[5:].isdigit()), default=0)


def is_writing(directory: Path) -> bool:
    return any(directory.glob(f"checkpoints/step_{saved(directory) + 1}.partial"))


def metrics(directory: Path) -> dict[int, dict[str, str]]:
    """Every metric by step, as it was logged last."""
    found: dict[int, dict[str, str]] = {}
    path = directory / "logs" / "log.txt"
    for line in path.read_text().splitlines() if path.exists() else []:
        complete = re.fullmatch(r"Step (\d+) \| (.*)", line)
        if complete:
            pairs = (pair.rpartition(":") for pair in complete[2].split())
            values = {key: value for key, _, value in pairs if key not in NOT_COMPARED}
            found.setdefault(int(complete[1]), {}).update(values)
    return found


def events(directory: Path) -> list[dict[str, object]]:
    lines = (directory / "mixture.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_weights(one: Path, other: Path) -> bool:
    files = sorted(path.relative_to(one) for path in one.glob("epoch_*/*.safetensors"))
    for file in files:
        mine, others = load_file(one / file), load_file(other / file)
        if mine.keys() != others.keys() or any((mine[k] != others[k]).any() for k in mine):
            return False
    return len(files) > 0


def kill_at(moment: str, life: Life, chance: random.Random, whole: dict[str, float]) -> None:
    first = saved(life.directory)
    if moment == "start":
        until = life.started + chance.uniform(0, whole["start"])
        life.wait_for(lambda: time.monotonic() > until or saved(life.directory) > first)
    else:
        goal = first + chance.randint(1, 2)
        life.wait_for(lambda: saved(life.directory) >= goal)
        if moment == "write":
            life.wait_for(lambda: is_writing(life.directory))
        else:
            time.sleep(chance.uniform(0, whole["step"]))
    life.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/soak"))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    shutil.rmtree(arguments.output, ignore_errors=True)
    arguments.output.mkdir(parents=True)
    never, killed = arguments.output / "never_killed", arguments.output / "killed"

    life = Life(never)
    life.wait_for(lambda: saved(never) > 0)
    start = time.monotonic() - life.started
    life.end()
    seconds = time.monotonic() - life.started
    whole = {"start": start, "step": (seconds - start) / (2 * STEPS_PER_EPOCH)}
    print(f"never killed: {seconds:.0f} s, of which {start:.0f} s up to the first checkpoint")
    print("| kill | while | resumed from step | last step | last saved | seconds |")
    print("|---|---|---|---|---|---|")
    moments = ["write", "step", "write", "start", "step"] * (arguments.kills // 5 + 1)
    writes = 0
    began = time.monotonic()
    for number, moment in enumerate(moments[: arguments.kills], start=1):
        life = Life(killed)
        kill_at(moment, life, chance, whole)
        # Killed as it starts, it may not have removed yet what the life before it left behind.
        if is_writing(killed) and (moment != "start" or life.resumed_from() > 0):
            writes, moment = writes + 1, "writing"
        seconds = time.monotonic() - life.started
        last = max(metrics(killed), default=0)
        where = [life.resumed_from(), last, saved(killed)]
        cells = [number, moment, *(where if moment != "start" else "---"), f"{seconds:.0f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    life = Life(killed)
    life.end()
    log = (killed / "logs" / "log.txt").read_text()
    repeated = len(re.findall(r"^Step \d+ \| loss:", log, re.MULTILINE)) - 2 * STEPS_PER_EPOCH
    differences = [
        name
        for name, same in {
            "metrics": metrics(killed) == metrics(never),
            "examples": (killed / "examples.jsonl").read_bytes()
            == (never / "examples.jsonl").read_bytes(),
            "mixture.jsonl": events(killed) == events(never),
            "weights": same_weights(never, killed),
        }.items()
        if not same
    ]
    print(
        f"{arguments.kills} kills, {writes} during a write, {repeated} steps made twice, "
        f"{time.monotonic() - began:.0f} s; identical: "
        + (f"NO, not {', '.join(differences)}" if differences else "yes")
    )
    if differences or writes < arguments.kills // 4:
        sys.exit(1)


if __name__ == "__main__":
    main()
