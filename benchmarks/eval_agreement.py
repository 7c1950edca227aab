# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Do the recipe and ``lm_eval --model hf`` give a checkpoint the same scores?

    mos-tune prepare smollm2
    mos-tune prepare benchmarks --output-dir data/benchmarks
    python benchmarks/eval_agreement.py --output-dir output/eval_agreement

210 questions of MMLU (30 of each of seven subjects, no examples) and 20 of GSM8K (five examples,
answers of up to 64 tokens), asked of SmolLM2-135M-Instruct in float32, by both commands on the same
files. It prints both tables and how far the two are apart question by question.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SUBJECTS = (
    "abstract_algebra",
    "anatomy",
    "astronomy",
    "elementary_mathematics",
    "human_aging",
    "philosophy",
    "virology",
)
QUESTIONS = 30
GENERATED = 20
MAX_GEN_TOKS = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path, default=Path("data/smollm2/model"))
    parser.add_argument("--data-dir", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--output-dir", type=Path, default=Path("output/eval_agreement"))
    paths = parser.parse_args()
    out = paths.output_dir.absolute()
    checkpoint = out / "model"
    checkpoint.mkdir(parents=True, exist_ok=True)
    for file in paths.model_dir.absolute().iterdir():
        link = checkpoint / file.name
        if not link.exists():
            link.symlink_to(file)
    tasks = write_tasks(paths.data_dir.absolute(), out / "tasks")

    program = str(Path(sys.executable).with_name("tune"))
    run(
        [program, "run", "--nproc_per_node", "1", "recipes/eleuther_eval_mos.py"]
        + ["--config", "configs/eval/smollm2_135M.yaml", f"checkpoint_dir={checkpoint}"]
        + [f"include_path={tasks}", "tasks=[agreement]", "log_samples=True", "max_seq_length=8192"]
    )
    run(
        [sys.executable, "-m", "lm_eval", "--model", "hf", "--tasks", "agreement"]
        + ["--model_args", f"pretrained={checkpoint},dtype=float32", "--include_path", str(tasks)]
        + ["--device", "cpu", "--batch_size", "8", "--log_samples"]
        + ["--output_path", str(out / "hf")]
    )
    compare(checkpoint, newest(out / "hf"))


def write_tasks(data_dir: Path, folder: Path) -> Path:
    """Write the questions and lm-eval's configs; the prompts are lm-eval's own."""
    import lm_eval.tasks

    base = Path(lm_eval.tasks.__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    members = []
    configs = {
        subject: (f"mmlu/default/mmlu_{subject}.yaml", f"mmlu/{subject}", QUESTIONS, {})
        for subject in SUBJECTS
    }
    generation = {
        "until": ["Q:", "</s>", "<|im_end|>"],
        "do_sample": False,
        "max_gen_toks": MAX_GEN_TOKS,
    }
    configs["gsm8k"] = (
        "gsm8k/gsm8k-cot.yaml",
        "gsm8k",
        GENERATED,
        {"num_fewshot": 5, "generation_kwargs": generation},
    )
    for name, (include, data, count, changes) in configs.items():
        data_files = {}
        for split in ("test", "dev"):
            source = data_dir / data / f"{split}.jsonl"
            if source.exists():
                lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
                target = folder / f"{name}_{split}.jsonl"
                target.write_text("".join(lines[:count]), encoding="utf-8")
                data_files[split] = str(target)
        config = {
            "include": str(base / include),
            "task": f"agreement_{name}",
            "tag": [],
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": data_files},
            **changes,
        }
        members.append(config["task"])
        (folder / f"{name}.yaml").write_text(json.dumps(config))
    # lm-eval 0.4.9.2's command finds tasks of an include_path only through a group.
    group = {"group": "agreement", "task": members, "metadata": {"version": 1.0}}
    (folder / "group.yaml").write_text(json.dumps(group))
    return folder


def run(command: list[str]) -> None:
    print(f"\n$ {' '.join(command)}", flush=True)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **offline})


def newest(folder: Path) -> dict[str, Path]:
    files = sorted(folder.glob("*/samples_*.jsonl"), key=lambda path: path.stat().st_mtime)
    return {path.name.removeprefix("samples_").rsplit("_", 1)[0]: path for path in files}


def compare(ours: Path, theirs: dict[str, Path]) -> None:
    questions = differing = answers = same_answers = other_verdicts = 0
    farthest, near_ties = 0.0, []
    for task, file in theirs.items():
        pairs = zip(rows(ours / f"samples_{task}.jsonl"), rows(file), strict=True)
        for mine, other in pairs:
            assert mine["doc_hash"] == other["doc_hash"], (task, mine["doc_id"])
            if "acc" in mine:
                questions += 1
                a, b = likelihoods(mine), likelihoods(other)
                farthest = max(farthest, *(abs(x - y) for x, y in zip(a, b, strict=True)))
                if mine["acc"] != other["acc"]:
                    differing += 1
                    best, second = sorted(b)[-1:-3:-1]
                    near_ties.append(best - second)
            else:
                if mine["filter"] == "strict-match":
                    answers += 1
                    same_answers += mine["resps"] == other["resps"]
                other_verdicts += mine["exact_match"] != other["exact_match"]
    print(f"MMLU: {questions} questions, log-likelihoods at most {farthest:.1e} apart")
    print(f"MMLU: {differing} questions with another verdict, their best two choices {near_ties}")
    print(f"GSM8K: {same_answers} of {answers} answers equal character for character")
    print(f"GSM8K: {other_verdicts} other verdicts")


def rows(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    return sorted(found, key=lambda row: (row["doc_id"], row["filter"]))


def likelihoods(row: dict[str, Any]) -> list[float]:
    return [float(response[0][0]) for response in row["resps"]]


if __name__ == "__main__":
    main()
