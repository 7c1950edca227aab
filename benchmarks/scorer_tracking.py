# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""How fast each kind of scorer follows the rewards: the reason for MLPScorer's defaults.

    python benchmarks/scorer_tracking.py

Starts uniform, draws rewards uniformly from [0.2, 1.2] and updates on the same rewards again and
again. Prints the share of the way to the fixed point ``R / sum(R)`` (L1 distance) that is left
after 1, 2, 5 and 48 updates (48: as many as in the paper's runs), as median and worst of 20 draws.
"""

import time

import torch

from mos_tune.scorers import MLPScorer

KINDS = {
    "width 256, 1 SGD (Alg. 1)": {"inner_steps": 1, "optimizer": "sgd"},
    "free logits, 1 SGD": {"hidden_dim": None, "inner_steps": 1, "optimizer": "sgd"},
    "free logits, 200 Adam": {"hidden_dim": None},
    "width 16, 200 Adam": {"hidden_dim": 16},
    "width 64, 50 Adam": {"hidden_dim": 64, "inner_steps": 50},
    "width 64, 200 Adam": {"hidden_dim": 64},
    "width 256, 200 Adam": {"hidden_dim": 256},
    "width 1024, 200 Adam": {"hidden_dim": 1024},
}
UPDATES = (1, 2, 5, 48)


def distances(options: dict, count: int, draw: int) -> list[float]:
    rewards = 0.2 + torch.rand(count, generator=torch.Generator().manual_seed(draw)).double()
    target = rewards / rewards.sum()
    prior = torch.full((count,), 1 / count, dtype=torch.float64)
    scorer = MLPScorer(prior, seed=draw, **options)
    left = []
    for update in range(1, max(UPDATES) + 1):
        scorer.learn(rewards)
        if update in UPDATES:
            left.append(float((scorer.probabilities() - target).abs().sum()))
    return [one / float((prior - target).abs().sum()) for one in left]


def main() -> None:
    torch.set_num_threads(1)
    print(
        f"{'N':>4}  {'scorer':26}"
        + "".join(f"{f'after {u}':>18}" for u in UPDATES)
        + "   ms/update"
    )
    for count in (4, 20, 100):
        for kind, options in KINDS.items():
            started = time.perf_counter()
            runs = torch.tensor([distances(options, count, draw) for draw in range(20)])
            milliseconds = (time.perf_counter() - started) / 20 / max(UPDATES) * 1e3
            columns = zip(runs.median(dim=0).values, runs.max(dim=0).values, strict=True)
            cells = "".join(f"{f'{m:.4f} ({w:.4f})':>18}" for m, w in columns)
            print(f"{count:4}  {kind:26}{cells}{milliseconds:12.1f}", flush=True)


if __name__ == "__main__":
    main()
