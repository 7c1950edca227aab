# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The checkpoint to evaluate: its files, and the training run behind it."""

import re
from pathlib import Path
from typing import Any

from torchtune.training import FullModelHFCheckpointer

from mos_tune.base_checkpoint import hf_weight_files
from mos_tune.errors import UserError
from mos_tune.metrics.curves import Curve, NotBegun, read_curves

_EXPORT = re.compile(r"epoch_(\d+)")
_SEED = re.compile(r"seed_\d+")


def exported_checkpoint(checkpoint_dir: str, model_type: str) -> FullModelHFCheckpointer:
    """Build torchtune's checkpointer for a folder in Hugging Face format, whatever its files.

    A training run's ``epoch_N`` and a downloaded model have their weights in differently named and
    numbered files; here the folder is all that has to be named.

    Args:
        checkpoint_dir (str): the folder.
        model_type (str): torchtune's name of the architecture, such as ``"LLAMA3"``.

    Raises:
        UserError: if the folder or something in it is missing.
    """
    folder = Path(checkpoint_dir)
    if not folder.is_dir():
        raise UserError(f"checkpoint_dir is {checkpoint_dir}, where no folder is")
    files = hf_weight_files(folder)
    if not files:
        raise UserError(
            f"checkpoint_dir is {checkpoint_dir}, which has no .safetensors or .bin file"
        )
    for name in [*files, "config.json"]:
        if not (folder / name).is_file():
            raise UserError(f"checkpoint_dir is {checkpoint_dir}, which lacks {name}")
    return FullModelHFCheckpointer(
        checkpoint_dir=checkpoint_dir,
        checkpoint_files=files,
        model_type=model_type,
        # Nothing is written; torchtune only wants a folder that is not within the checkpoint.
        output_dir=str(folder.resolve().parent),
    )


def run_name(checkpoint_dir: Path) -> str:
    """Give the run's name, which the seeds of a sweep's row share.

    It is the output folder's, or the one's above it if that is ``seed_N``; that of the checkpoint's
    folder if it is no export.
    """
    folder = checkpoint_dir.resolve()
    if not _EXPORT.fullmatch(folder.name):
        return folder.name
    run = folder.parent
    return run.parent.name if _SEED.fullmatch(run.name) else run.name


def step_and_mixture(checkpoint_dir: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Find how long the checkpoint was trained, and on which mixture.

    Args:
        checkpoint_dir (Path): an ``epoch_N`` folder of a training run, or any other folder.

    Returns:
        tuple[int | None, dict[str, Any] | None]: optimizer steps, None if the run did not end;
        and the probabilities at that step with their average over the steps, None if there is no
        ``mixture.jsonl`` beside the folder.

    Raises:
        UserError: if ``mixture.jsonl`` is damaged.
    """
    folder = checkpoint_dir.resolve()
    export = _EXPORT.fullmatch(folder.name)
    if export is None:
        return None, None
    try:
        curves = read_curves(folder.parent / "mixture.jsonl")
    except NotBegun:
        return None, None
    exports = [_EXPORT.fullmatch(path.name) for path in folder.parent.iterdir()]
    epochs = 1 + max(int(found[1]) for found in exports if found)
    # All epochs of a run have as many steps.
    step = curves.last_step * (int(export[1]) + 1) // epochs if curves.finished else None
    mixtures = [(at, p) for at, p in curves.probabilities if step is None or at <= step]
    return step, {
        "final_probabilities": mixtures[-1][1],
        "average_probabilities": None if step is None else _average(mixtures, step),
    }


def _average(mixtures: Curve, step: int) -> dict[str, float]:
    # The mixture after step t is that of the steps from t + 1 on.
    ends = [at for at, _ in mixtures[1:]] + [step]
    return {
        name: sum(p[name] * (end - at) for (at, p), end in zip(mixtures, ends, strict=True)) / step
        for name in mixtures[0][1]
    }
