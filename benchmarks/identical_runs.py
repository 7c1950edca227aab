# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Show that a change which should not alter the mathematics does not.

    python benchmarks/identical_runs.py BASE [--recipes NAME ...] [--cache DIR]

Short runs of the four recipes, by ``tune run`` on the tiny config, in a worktree of the revision
``BASE`` and in the working tree as it is. Compared are all metrics but times, ``mixture.jsonl``
without its seconds, the examples of every step, and every exported tensor, bit for bit. The first
difference of a run is named, and any ends the script with status 1. What ``BASE`` gave is kept in
the folder of ``--cache``: of use on one machine and in one environment only. Two to three minutes
for each tree on two cores, in which the working tree had better not change.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).absolute().parents[1]

# In every run: updates, validations, gradient accumulation, a schedule, and a dataset that wraps.
OPTIONS = (
    *("seed=1", "log_examples=True", "metric_logger.filename=log.txt"),
    *("scorer.update_every=2", "reward.batch_size=8", "gradient_accumulation_steps=2"),
    *("validation.every_n_steps=3", "validation.max_examples=8"),
    *("dataset.count.size=400", "dataset.copy.size=60", "dataset.reverse.size=12"),
    "lr_scheduler._component_=mos_tune.training.get_linear_schedule_with_warmup",
    *("checkpoint.every_n_steps=4", "checkpoint.keep_last=1", "resume_from_checkpoint=True"),
)
GLOBAL_BATCH_SIZE = 8  # of one micro-batch of all processes
LORA = (
    "model._component_=torchtune.models.llama3.lora_llama3",
    "model.lora_attn_modules=[q_proj,v_proj,output_proj]",
    *("model.apply_lora_to_mlp=True", "model.lora_rank=8", "model.lora_alpha=16"),
    "optimizer.lr=1e-2",
)
PACKED = ("dataset.sort.packed=True", "dataset.count.packed=True", "dataset.count.length=3")
BATCH = ("sampler.draw=batch", "clip_grad_norm=1.0")
# The second start of a run resumes where the first has ended: between two updates, in the middle
# of what is now the epoch.
ONCE, RESUMED = (5,), (5, 9)

NOT_COMPARED = {"tokens_per_second_per_gpu", "seconds"}  # times


class Run(NamedTuple):
    """What is run in both trees, and the last step of each of its starts."""

    recipe: str
    processes: int
    reward: str
    last_steps: tuple[int, ...]
    options: tuple[str, ...]

    def commands(self, output_dir: str) -> list[list[str]]:
        """Give the words of every start after ``tune``."""
        command = ["run", "--nproc_per_node", str(self.processes), f"recipes/{self.recipe}.py"]
        command += ["--config", "configs/tiny_llama3_mos.yaml", f"output_dir={output_dir}"]
        command += [f"reward=mos_tune.rewards.{self.reward}Reward", *OPTIONS, *self.options]
        command += [f"batch_size={GLOBAL_BATCH_SIZE // self.processes}"]
        return [[*command, f"max_steps_per_epoch={step}"] for step in self.last_steps]

    @property
    def key(self) -> str:
        """Change whenever the commands do, so that the cache forgets."""
        return hashlib.sha256(repr(self.commands("")).encode()).hexdigest()[:8]


RUNS = (
    Run("full_finetune_mos_distributed", 2, "Difficulty", RESUMED, PACKED),
    Run("full_finetune_mos_distributed", 2, "Gradient", ONCE, ()),
    Run("full_finetune_mos_single_device", 1, "Transferability", RESUMED, BATCH),
    Run("lora_finetune_mos_distributed", 2, "Transferability", RESUMED, LORA),
    Run("lora_finetune_mos_single_device", 1, "Difficulty", RESUMED, LORA + PACKED),
    Run("lora_finetune_mos_single_device", 1, "Uncertainty", ONCE, LORA),
)


class Value(NamedTuple):
    """One thing that a run left."""

    step: int
    place: str
    value: Any


def results(run: Run, tree: Path) -> list[Value]:
    program = str(Path(sys.executable).with_name("tune"))
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    pipe, same = subprocess.PIPE, subprocess.STDOUT
    with tempfile.TemporaryDirectory(prefix="identical_runs_") as folder:
        for words in run.commands(folder):
            with subprocess.Popen(
                [program, *words], cwd=tree, env=environment, stdout=pipe, stderr=same, text=True
            ) as process:
                try:
                    output, _ = process.communicate()
                except BaseException:
                    process.terminate()  # killed, as subprocess.run does it, it leaves its workers
                    raise
            if process.returncode != 0:
                print(output[-6000:])
                sys.exit(f"in {tree}, code {process.returncode} from tune {' '.join(words)}")
        return list(left_by_run(Path(folder)))


def left_by_run(folder: Path) -> Iterator[Value]:
    found: list[Value] = []
    for line in (folder / "logs" / "log.txt").read_text().splitlines():
        step, _, metrics = line.removeprefix("Step ").partition(" | ")
        values = dict(pair.rpartition(":")[::2] for pair in metrics.split())
        found += leaves(int(step), "log.txt", values)
    for name in ("mixture.jsonl", "examples.jsonl"):
        for line in (folder / name).read_text().splitlines():
            fields = json.loads(line)
            found += leaves(fields["step"], f"{name} {fields.get('event', '')}".strip(), fields)
    yield from sorted(found, key=lambda value: value.step)  # stable
    for file in sorted(folder.glob("epoch_*/**/*.safetensors")):
        for name, tensor in tensors(file):
            yield Value(found[-1].step, f"{file.relative_to(folder)} {name}", tensor)


def leaves(step: int, place: str, value: Any) -> Iterator[Value]:
    if not isinstance(value, dict | list):
        yield Value(step, place, value)
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if key not in NOT_COMPARED:
            yield from leaves(step, f"{place} {key}", part)


def tensors(file: Path) -> Iterator[tuple[str, str]]:
    """Give name and hash of every tensor: type, shape and bits."""
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for name, entry in sorted(json.loads(content[8:start]).items()):
        if name != "__metadata__":
            first, last = (start + offset for offset in entry["data_offsets"])
            kind = f"{entry['dtype']} {entry['shape']} ".encode()
            yield name, hashlib.sha256(kind + content[first:last]).hexdigest()


def of_base(revision: str, runs: list[Run], cache: Path) -> list[list[Value]]:
    cache.mkdir(parents=True, exist_ok=True)
    files = [cache / f"{revision}-{run.recipe}-{run.reward}-{run.key}.json" for run in runs]
    missing = [(run, file) for run, file in zip(runs, files, strict=True) if not file.exists()]
    if missing:
        with worktree(revision) as tree:
            for run, file in missing:
                started = time.monotonic()
                file.write_text(json.dumps(results(run, tree)))
                seconds = time.monotonic() - started
                print(f"{run.recipe} {run.reward}: in BASE, {seconds:.0f} s", flush=True)
    return [[Value(*value) for value in json.loads(file.read_text())] for file in files]


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="identical_runs_") as folder:
        tree = Path(folder).resolve() / "base"
        git("worktree", "add", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*words: str) -> str:
    finished = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(finished.stderr.strip())
    return finished.stdout.strip()


def first_difference(base: list[Value], here: list[Value]) -> str | None:
    for expected, found in zip_longest(base, here):
        if expected != found:
            return f"DIFFERENT: {in_words(expected)} in BASE, {in_words(found)} here"
    return None


def in_words(value: Value | None) -> str:
    return f"step {value.step}, {value.place}: {value.value}" if value else "nothing more"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", help="a revision of git")
    recipes = list(dict.fromkeys(run.recipe for run in RUNS))
    parser.add_argument("--recipes", nargs="+", choices=recipes, default=recipes)
    parser.add_argument("--cache", type=Path, help="a folder for what BASE gave")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of every clean-up
    revision = git("rev-parse", "--verify", arguments.base + "^{commit}")
    runs = [run for run in RUNS if run.recipe in arguments.recipes]
    with tempfile.TemporaryDirectory(prefix="identical_runs_") as folder:
        expected = of_base(revision, runs, arguments.cache or Path(folder))
    differences = 0
    for run, base in zip(runs, expected, strict=True):
        started = time.monotonic()
        here = results(run, ROOT)
        difference = first_difference(base, here)
        differences += difference is not None
        loss = [value.value for value in here if value.place == "log.txt loss"][-1]
        seconds = time.monotonic() - started
        length = f"{run.last_steps[-1]} steps, last loss {loss}, {seconds:.0f} s"
        print(f"{run.recipe} {run.reward}: {length}: {difference or 'identical'}", flush=True)
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
