# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Render P3 prompt templates, as the promptsource package publishes them."""

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Between prompt and answer, and between the answer choices.
_SEPARATOR = "|||"


class PromptTemplates:
    """The templates for one dataset.

    Each writes a prompt and an answer from the same row; together they ask for the same thing
    in many ways, or for another thing about the row. The templates come from elsewhere, so they
    run in Jinja's sandbox.

    Args:
        source (str): a ``templates.yaml`` of promptsource.
    """

    def __init__(self, source: str) -> None:
        self._random = Random()
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        environment.globals["zip"] = zip
        environment.filters["choice"] = self._choice
        entries = yaml.load(source, _Loader)["templates"]
        self._templates = [
            (
                environment.from_string(entries[key]["jinja"]),
                environment.from_string(entries[key]["answer_choices"] or ""),
            )
            for key in sorted(entries)
        ]

    def render(self, row: Mapping[str, Any], seed: str) -> tuple[str, str] | None:
        """Write one prompt and answer with a randomly drawn template.

        Some templates suit only some rows, for example by writing nothing when an answer is
        unknown; then the next one is tried.

        Args:
            row (Mapping[str, Any]): the dataset's columns.
            seed (str): decides, alone, every random choice made here.

        Returns:
            tuple[str, str] | None: prompt and answer, or None if no template suits the row.
        """
        self._random = Random(seed)
        for template, choices in self._random.sample(self._templates, len(self._templates)):
            try:
                answers = [part.strip() for part in choices.render(row).split(_SEPARATOR)]
                text = template.render(row, answer_choices=answers)
            # Templates index lists and parse numbers as freely as Python code does.
            except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
                continue
            parts = [part.strip() for part in text.split(_SEPARATOR)]
            if len(parts) == 2 and all(parts):
                return parts[0], parts[1]
        return None

    # Without the context Jinja would draw from a literal list once, when it compiles the template.
    @pass_context
    def _choice(self, context: Context, choices: Sequence[Any]) -> Any:
        return self._random.choice(choices)


def read_prompt_templates(sdist: Path, dataset: str) -> PromptTemplates:
    """Give the templates of a dataset.

    Args:
        sdist (Path): the promptsource source release. Its code asks for much else to be
            installed; its templates are plain files.
        dataset (str): folder of the dataset, for example ``"super_glue/boolq"``.
    """
    root = PurePosixPath(sdist.name.removesuffix(".tar.gz"))
    member = root / "promptsource" / "templates" / dataset / "templates.yaml"
    with tarfile.open(sdist) as archive:
        file = archive.extractfile(str(member))
        if file is None:
            raise FileNotFoundError(f"{member} in {sdist} is not a file")
        return PromptTemplates(file.read().decode("utf-8"))


class _Loader(yaml.SafeLoader):
    """Read the file's own tags as plain mappings."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("!Template", _mapping)
_Loader.add_constructor("!TemplateMetadata", _mapping)
