# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
import torch
from helpers.evaluation import TEMPLATE, both, write_tokenizer
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from mos_tune.errors import UserError
from mos_tune.evaluation.language_model import TorchtuneLM
from mos_tune.evaluation.text import Text
from mos_tune.tokenizers import CharTokenizer, HFChatTokenizer

MAX_LENGTH = 96


def ask(method, *arguments):
    instances = [Instance(method.__name__, {}, pair, index) for index, pair in enumerate(arguments)]
    return method(instances)


@pytest.fixture(
    scope="module",
    params=[
        (tiny_llama, "LLAMA3", True),
        (tiny_gemma, "GEMMA", False),
        (tiny_qwen2, "QWEN2", False),
    ],
    ids=["llama3 with bos", "gemma", "qwen2"],
)
def models(request, tmp_path_factory):
    make, model_type, bos = request.param
    directory = tmp_path_factory.mktemp("models") / "model"
    write_tokenizer(directory, bos=bos)
    hf_model, model = both(make, directory, model_type)
    theirs = HFLM(
        pretrained=hf_model,
        tokenizer=AutoTokenizer.from_pretrained(directory),
        batch_size=3,
        max_length=MAX_LENGTH,
        device="cpu",
    )
    return language_model(model, HFChatTokenizer(str(directory))), theirs


def language_model(model, tokenizer, **options):
    settings = {"device": torch.device("cpu"), "max_seq_length": MAX_LENGTH, "batch_size": 3}
    return TorchtuneLM(model, tokenizer, **{**settings, **options})


PAIRS = [
    ("Question: A or B?\nAnswer:", " A"),
    ("Question: A or B?\nAnswer:", " B"),
    ("Question: A or B?\nAnswer: ", "An ox, better"),
    ("", "No context at all"),
    ("Short", " and a rather long continuation of it"),
    ("Too long for the model. " * 8, "An answer"),
    ("What is", "?"),
]


def test_log_likelihoods_are_those_of_lm_evals_own_class(models):
    ours, theirs = (ask(model.loglikelihood, *PAIRS) for model in models)
    assert [s for s, _ in ours] == pytest.approx([s for s, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_a_greedy_continuation_is_recognised(models):
    context = "Question: A or B?"
    options = {"until": ["</s>"], "max_gen_toks": 3, "do_sample": False}
    (answer,) = ask(models[0].generate_until, (context, options))
    for model in models:
        (_, right), (_, wrong) = ask(
            model.loglikelihood, (context, answer), (context, f"{answer[:-1]}x")
        )
        assert right and not wrong


def test_whole_texts_are_scored_in_the_same_windows(models):
    texts = [("A text that fits.",), ("A text that takes several windows. " * 9,), ("x",)]
    ours, theirs = (ask(model.loglikelihood_rolling, *texts) for model in models)
    assert ours == pytest.approx(theirs, rel=1e-5)


QUESTIONS = ["Question: A or B?\nAnswer:", "Why", "Too long for the model. " * 8, "Name an ox: "]


@pytest.mark.parametrize("until", [["</s>"], ["a", "in"], "e"])
def test_answers_are_those_of_lm_evals_own_class(models, until):
    settings = {"until": until, "max_gen_toks": 14, "do_sample": False, "temperature": 0.0}
    asked = [(question, settings) for question in QUESTIONS]
    ours, theirs = (ask(model.generate_until, *asked) for model in models)
    assert ours == theirs
    assert all(stop not in answer for answer in ours for stop in until)


def test_an_answer_has_at_most_max_gen_toks(models):
    ours, _ = models
    asked = [(QUESTIONS[0], {"until": [], "max_gen_toks": count}) for count in (1, 5, 20)]
    answers = ask(ours.generate_until, *asked)
    assert answers[2].startswith(answers[1]) and answers[1].startswith(answers[0])
    tokens = [len(ours._text.encode(answer, add_special_tokens=False)) for answer in answers]
    # It may end sooner by itself, which the Gemma does.
    assert tokens == [min(count, tokens[2]) for count in (1, 5, 20)]


def test_conversations_are_rendered_as_lm_evals_own_class_does(models):
    ours, theirs = models
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi, "},
        {"role": "user", "content": "A or B?"},
    ]
    assert ours.apply_chat_template(turns) == theirs.apply_chat_template(turns)
    begun = [*turns, {"role": "assistant", "content": "The answer is"}]
    for add_generation_prompt in (True, False):
        text = ours.apply_chat_template(begun, add_generation_prompt)
        assert text == theirs.apply_chat_template(begun, add_generation_prompt)
    assert ours._text.encode(text) == theirs.tok_encode(text)


def test_a_template_without_system_messages(tmp_path):
    template = "{% set no_system = true %}" + TEMPLATE
    write_tokenizer(tmp_path, template=template)
    text = Text(HFChatTokenizer(str(tmp_path)))
    turns = [{"role": "system", "content": "Be good"}, {"role": "user", "content": "Hello"}]
    assert text.render(turns, True) == "<u>Hello</s><a>"


def test_a_tokenizer_without_template_is_named():
    turns = [{"role": "user", "content": "Hello"}]
    with pytest.raises(UserError, match="CharTokenizer has no chat template"):
        Text(CharTokenizer()).render(turns, True)


def test_bos_can_be_switched(tmp_path):
    write_tokenizer(tmp_path, bos=True)
    tokenizer = HFChatTokenizer(str(tmp_path))
    assert Text(tokenizer).encode("a")[0] == tokenizer.bos_id
    assert Text(tokenizer).encode("<s>a") == Text(tokenizer).encode("a")
    assert tokenizer.bos_id not in Text(tokenizer, add_bos=False).encode("a")
    write_tokenizer(tmp_path, bos=False)
    tokenizer = HFChatTokenizer(str(tmp_path))
    assert tokenizer.bos_id not in Text(tokenizer).encode("a")
    assert Text(tokenizer, add_bos=True).encode("a")[0] == tokenizer.bos_id
    # A tokenizer of torchtune does not say; the model has seen its token in training.
    assert Text(CharTokenizer()).encode("a")[0] == CharTokenizer().bos_id


def test_the_models_read_a_question_with_several_short_choices_once(models):
    ours, _ = models
    read = []
    hook = ours._model.tok_embeddings.register_forward_hook(
        lambda module, args, output: read.append(len(args[0]))
    )
    choices = [("Question: A or B?\nAnswer:", f" {letter}") for letter in "AB"]
    together = ask(ours.loglikelihood, *choices)
    hook.remove()
    assert sum(read) == 1
    for pair, choice in zip(together, choices, strict=True):
        ((alone, _),) = ask(ours.loglikelihood, choice)
        assert pair[0] == pytest.approx(alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gen_toks": MAX_LENGTH}, "max_seq_length is 96, which leaves no room"),
        ({"num_beams": 4}, "generation_kwargs has num_beams; known are until, max_gen_toks"),
        ({"do_sample": True, "temperature": 0.0}, "do_sample True and temperature 0"),
        ({"max_gen_toks": 0}, "max_gen_toks 0; expected at least 0 and at least 1"),
    ],
)
def test_what_cannot_be_generated_is_said(models, options, message):
    ours, _ = models
    with pytest.raises(UserError, match=message):
        ask(ours.generate_until, ("Why", {"until": ["\n"], **options}))


def test_an_answer_longer_than_the_model_is_refused(models):
    ours, _ = models
    with pytest.raises(UserError, match="max_seq_length is 96, and an answer to score has 2"):
        ask(ours.loglikelihood, ("Why", "x" * 200))


def test_stop_tokens_of_generation_config_end_an_answer(tmp_path):
    write_tokenizer(tmp_path / "model")
    _, model = both(tiny_llama, tmp_path / "model", "LLAMA3")
    asked = ("Why", {"until": [], "max_gen_toks": 8})
    free = language_model(model, HFChatTokenizer(str(tmp_path / "model")))
    (answer,) = ask(free.generate_until, asked)
    third = free._text.encode(answer, add_special_tokens=False)[2]
    (tmp_path / "model" / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [third]})
    )
    stopping = language_model(model, HFChatTokenizer(str(tmp_path / "model")))
    (cut,) = ask(stopping.generate_until, asked)
    assert cut and answer.startswith(cut) and len(cut) < len(answer)
