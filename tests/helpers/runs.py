# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Start recipes as a user does, and read what they leave."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.hf_models import tiny_llama
from helpers.warm_python import warm_python
from omegaconf import OmegaConf

REPOSITORY = Path(__file__).parents[2]
RECIPE = "recipes/full_finetune_mos_distributed.py"
OTHER_RECIPES = (
    "recipes/full_finetune_mos_single_device.py",
    "recipes/lora_finetune_mos_distributed.py",
    "recipes/lora_finetune_mos_single_device.py",
)
SIZES = {"count": 400, "copy": 60, "sort": 150, "reverse": 30}


def config(directory: Path) -> dict:
    """A complete config of a tiny run, with its base checkpoint written to ``directory``."""
    base = directory / "base"
    _, model = tiny_llama(base)
    return {
        "output_dir": str(directory / "run"),
        "tokenizer": {"_component_": "mos_tune.tokenizers.CharTokenizer", "max_seq_len": 64},
        "dataset": {
            skill: {"_component_": "mos_tune.datasets.skill_dataset", "skill": skill, "size": size}
            for skill, size in SIZES.items()
        },
        "seed": 1,
        "shuffle": True,
        "model": model,
        "checkpointer": {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": str(base),
            "checkpoint_files": ["model.safetensors"],
            "recipe_checkpoint": None,
            "output_dir": "${output_dir}",
            "model_type": "LLAMA3",
        },
        "resume_from_checkpoint": False,
        "epochs": 1,
        "max_steps_per_epoch": 12,
        "batch_size": 4,
        "gradient_accumulation_steps": 1,
        "optimizer": {"_component_": "torch.optim.AdamW", "lr": 1e-3},
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "metric_logger": {
            "_component_": "torchtune.training.metric_logging.DiskLogger",
            "log_dir": "${output_dir}/logs",
            "filename": "log.txt",
        },
        "device": "cpu",
        "dtype": "fp32",
        "compile": False,
        "optimizer_in_bwd": False,
        "enable_activation_checkpointing": False,
        "log_every_n_steps": 1,
        "log_examples": True,
        "sampler": {
            "_component_": "mos_tune.mixture.MixtureSampler",
            "temperature": "inf",
            "draw": "example",
        },
        "scorer": {"_component_": "mos_tune.scorers.MLPScorer", "update_every": 4},
        "reward": {"_component_": "mos_tune.rewards.DifficultyReward", "batch_size": 8},
        "validation": {"every_n_steps": 5, "fraction": 0.1, "max_examples": 8},
    }


def settings_for(recipe: str, directory: Path, processes: int = 2) -> tuple[dict, int]:
    """A config for this recipe with a global batch of 8, and the number of its processes."""
    settings = config(directory)
    if "single_device" in recipe:
        processes = 1
    settings["batch_size"] = 8 // processes
    if "lora" in recipe:
        settings["model"] |= {
            "_component_": "torchtune.models.llama3.lora_llama3",
            "lora_attn_modules": ["q_proj", "v_proj", "output_proj"],
            "apply_lora_to_mlp": True,
            "lora_rank": 8,
            "lora_alpha": 16,
        }
        settings["optimizer"]["lr"] = 1e-2
        del settings["optimizer_in_bwd"]
    return settings, processes


@dataclass
class Run:
    """A finished run."""

    code: int
    output: str
    directory: Path

    def events(self, name: str) -> list[dict]:
        lines = (self.directory / "mixture.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def examples(self) -> list[list]:
        lines = (self.directory / "examples.jsonl").read_text().splitlines()
        return [json.loads(line)["examples"] for line in lines]

    def metric(self, name: str) -> dict[int, float]:
        """One scalar by step, as the disk logger wrote it."""
        values = {}
        for line in (self.directory / "logs" / "log.txt").read_text().splitlines():
            step, rest = line.removeprefix("Step ").split(" | ")
            for pair in rest.split():
                key, _, value = pair.rpartition(":")
                if key == name:
                    values[int(step)] = float(value)
        return values

    def losses(self) -> list[float]:
        return list(self.metric("loss").values())


def mos_tune_run(
    settings: dict | Path,
    *overrides: str,
    processes: int = 2,
    launcher: tuple[str, ...] | None = None,
    recipe: str = RECIPE,
    ok: bool = True,
    folder: Path = REPOSITORY,
) -> Run:
    """Run ``mos-tune run`` on a config, or on a config file, from the repository or elsewhere.

    With options for the ``launcher``, if only an empty tuple, it is the program that users start.
    """
    return _run(
        "mos_tune.cli", settings, overrides, processes, launcher, recipe, ok=ok, folder=folder
    )


def tune(
    settings: dict | Path,
    *overrides: str,
    processes: int = 2,
    recipe: str = RECIPE,
    ok: bool = True,
    folder: Path = REPOSITORY,
    worker: str | None = None,
) -> Run:
    """Run ``tune run`` on a config, or on a config file, from the repository's folder.

    A ``worker`` is the program that is started in Python's place for every rank.
    """
    return _run(
        "torchtune._cli.tune",
        settings,
        overrides,
        processes,
        None,
        recipe,
        ok=ok,
        folder=folder,
        worker=worker,
    )


def _run(
    program: str,
    settings: dict | Path,
    overrides: tuple[str, ...],
    processes: int,
    launcher: tuple[str, ...] | None,
    recipe: str,
    *,
    ok: bool,
    folder: Path,
    worker: str | None = None,
) -> Run:
    if isinstance(settings, Path):
        file = directory = settings
    else:
        directory = Path(settings["output_dir"])
        file = directory.with_suffix(".yaml")
        OmegaConf.save(OmegaConf.create(settings), file)
    command = [warm_python(), "-m", program]
    if launcher is not None:
        # exec keeps the process, which the workers can then find.
        command = ["sh", "-c", 'LAUNCHER_PID=$$ exec "$@"', "sh", sys.executable, "-m", program]
    command += ["run", *(launcher or ()), "--nproc_per_node", str(processes), recipe]
    # The width of somebody's terminal would cut the progress bars.
    inherited = {key: os.environ[key] for key in os.environ.keys() - {"COLUMNS", "LINES"}}
    finished = subprocess.run(
        [*command, "--config", str(file), *overrides],
        cwd=folder,
        env=inherited
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHON_EXEC": worker or warm_python(),  # what torchrun starts instead of Python
            # Workers that got no processor for a while are not killed while they save.
            "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "900",
        },
        capture_output=True,
        text=True,
        timeout=1200,
    )
    output = finished.stdout + finished.stderr
    if ok:
        assert finished.returncode == 0, output[-6000:]
    return Run(finished.returncode, output, directory)
