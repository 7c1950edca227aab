# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Learned and fixed mixtures on the embedded default: README's table.

    python benchmarks/tiny_mixtures.py [STEPS]

Runs ``configs/tiny_llama3_mos.yaml`` for STEPS optimizer steps (default: as in the config, about
a minute a run on two cores) with every mixture and two seeds, one by one, and prints
the held-out losses at the end, in nats per response token, as a Markdown table.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

MIXTURES = {
    "difficulty": [],
    "transferability": ["reward=mos_tune.rewards.TransferabilityReward"],
    "uniform": ["scorer=null"],
    "tau_10": ["scorer=null", "sampler.temperature=10"],
    "proportional": ["scorer=null", "sampler.temperature=1"],
}
SEEDS = (0, 1)
OUTPUT = Path("output/tiny_mixtures")


def held_out_losses(mixture: str, seed: int, steps: list[str]) -> dict[str, float]:
    directory = OUTPUT / f"{mixture}_{seed}"
    command = [
        *("tune", "run", "--nproc_per_node", "2", "recipes/full_finetune_mos_distributed.py"),
        *("--config", "configs/tiny_llama3_mos.yaml", f"output_dir={directory}", f"seed={seed}"),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "run.log").open("w") as log:
        subprocess.run([*command, *MIXTURES[mixture], *steps], check=True, stdout=log, stderr=log)
    events = map(json.loads, (directory / "mixture.jsonl").read_text().splitlines())
    last = [event for event in events if event["event"] == "validation"][-1]
    return last["losses"] | {"mean": last["mean"]}


def main() -> None:
    steps = [f"max_steps_per_epoch={sys.argv[1]}"] if len(sys.argv) > 1 else []
    for number, mixture in enumerate(MIXTURES):
        runs = [held_out_losses(mixture, seed, steps) for seed in SEEDS]
        if number == 0:
            print("| mixture | " + " | ".join(runs[0]) + " |")
            print("|---|" + "---|" * len(runs[0]))
        values = torch.tensor([list(run.values()) for run in runs])
        cells = (" / ".join(f"{value:.3f}" for value in column) for column in values.T.tolist())
        print(f"| {mixture} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
