# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Two-turn answers, compared with transformers on the same weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hf_models import MAX_SEQ_LEN, VOCAB_SIZE, tiny_llama
from omegaconf import OmegaConf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torchtune import config
from torchtune.models.qwen2 import qwen2_tokenizer
from torchtune.training import FullModelHFCheckpointer
from transformers import AutoTokenizer, PreTrainedModel

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.answering import TwoTurnAnswerer
from mos_tune.evaluation.mt_bench.benchmark import Question
from mos_tune.evaluation.text import chat_prompt
from mos_tune.tokenizers import HFChatTokenizer

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = "What is the sum of seven and five? It is twelve, user. The assistant, too, can count.\n"
GREEDY = [
    Question(question_id=101, category="math", turns=("What is seven?", "And the sum?")),
    Question(question_id=102, category="coding", turns=("count", "too?")),
    Question(question_id=103, category="math", turns=(TEXT, "five")),
]
SAMPLED = [Question(question_id=q.question_id, category="writing", turns=q.turns) for q in GREEDY]
MakeAnswerer = Callable[..., TwoTurnAnswerer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model with a chat tokenizer."""
    directory = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True) for token in ("<|im_start|>", "<|im_end|>")]
    # As many tokens as the model has, so that whatever it says can be read.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=special, show_progress=False
    )
    numbers = " ".join(str(7919 * i) for i in range(2000))
    tokenizer.train_from_iterator([TEXT] * 9 + [numbers], trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    tokenizer.save(str(directory / "tokenizer.json"))
    tokenizer.model.save(str(directory))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": CHATML,
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


@pytest.fixture(scope="module")
def hf_model_and_builder(folder: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    return tiny_llama(folder)


@pytest.fixture(scope="module")
def make(
    folder: Path, hf_model_and_builder: tuple[PreTrainedModel, dict[str, Any]]
) -> MakeAnswerer:
    checkpointer = FullModelHFCheckpointer(
        str(folder), ["model.safetensors"], "LLAMA3", str(folder.parent)
    )
    model = config.instantiate(OmegaConf.create(hf_model_and_builder[1]))
    model.load_state_dict(checkpointer.load_checkpoint()["model"])
    model.eval()

    def answerer(
        *, max_seq_len: int | None = None, stop: int | None = None, **options: Any
    ) -> TwoTurnAnswerer:
        tokenizer = HFChatTokenizer(str(folder), max_seq_len)
        tokenizer.stop_tokens = [*tokenizer.stop_tokens, *([] if stop is None else [stop])]
        defaults = {
            "device": torch.device("cpu"),
            "max_seq_length": MAX_SEQ_LEN,
            "batch_size": 3,
            "dtype": torch.float32,
            "enable_kv_cache": True,
            "max_new_tokens": 12,
            "seed": 0,
        }
        return TwoTurnAnswerer(model, tokenizer, **(defaults | options))

    return answerer


def transformers_answers(
    folder: Path, model: PreTrainedModel, question: Question, stop: list[int]
) -> tuple[str, str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    talk: list[dict[str, str]] = []
    answers = []
    for turn in question.turns:
        talk.append({"role": "user", "content": turn})
        prompt = tokenizer.apply_chat_template(
            talk, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(
            prompt["input_ids"],
            attention_mask=prompt["attention_mask"],
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=stop,
            pad_token_id=0,
        )[0, prompt["input_ids"].shape[1] :].tolist()
        made = made[:-1] if made[-1] in stop else made
        answers.append(tokenizer.decode(made, skip_special_tokens=True).strip())
        talk.append({"role": "assistant", "content": answers[-1]})
    return answers[0], answers[1]


@pytest.mark.parametrize("enable_kv_cache", [True, False])
@pytest.mark.parametrize("stops_early", [False, True])
def test_greedy_as_in_transformers(
    folder: Path,
    hf_model_and_builder: tuple[PreTrainedModel, dict[str, Any]],
    make: MakeAnswerer,
    enable_kv_cache: bool,
    stops_early: bool,
) -> None:
    model = hf_model_and_builder[0]
    stops = list(HFChatTokenizer(str(folder)).stop_tokens)
    whole = [transformers_answers(folder, model, question, stops) for question in GREEDY]
    stop = None
    if stops_early:
        # A token in the middle of what the model says if nothing stops it.
        stop = AutoTokenizer.from_pretrained(folder).encode(whole[0][0])[3]
        stops.append(stop)
    expected = [transformers_answers(folder, model, question, stops) for question in GREEDY]
    assert (expected != whole) == stops_early
    assert make(stop=stop, enable_kv_cache=enable_kv_cache).answer(GREEDY) == expected


def test_sampled_answers_do_not_depend_on_the_batch(make: MakeAnswerer) -> None:
    together = make().answer(SAMPLED)
    assert [make().answer([question])[0] for question in reversed(SAMPLED)] == together[::-1]
    assert together != make().answer(GREEDY)
    assert together != make(seed=1).answer(SAMPLED)


def test_each_question_has_a_seed_of_its_own(make: MakeAnswerer) -> None:
    twin = Question(question_id=7, category="writing", turns=SAMPLED[0].turns)
    first, second = make().answer([SAMPLED[0], twin])
    assert first[0] != second[0]


def test_an_answer_is_shortened_where_the_conversation_is_full(
    folder: Path, make: MakeAnswerer
) -> None:
    whole = make().answer(GREEDY)
    last = GREEDY[2].turns[0], whole[2][0], GREEDY[2].turns[1]
    length = len(chat_prompt(HFChatTokenizer(str(folder)), last))
    shortened = make(max_seq_length=length + 5).answer(GREEDY)
    # The longest conversation alone is cut, and no other because of it.
    assert shortened[:2] == whole[:2]
    assert shortened[2][0] == whole[2][0]
    assert whole[2][1].startswith(shortened[2][1]) and len(shortened[2][1]) < len(whole[2][1])
    with pytest.raises(UserError, match="max_seq_length is .* turn 2 of MT-bench's question 103"):
        make(max_seq_length=length).answer(GREEDY)


def test_a_tokenizer_that_cuts_the_prompt(make: MakeAnswerer) -> None:
    with pytest.raises(UserError, match="tokenizer.max_seq_len is 20, .* turn 1 .* 103"):
        make(max_seq_len=20).answer(GREEDY[2:])


def test_prompts_as_in_transformers(folder: Path) -> None:
    talk = ["What is seven?", "  twelve \n", "And the sum?"]
    messages = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant", "user"), talk, strict=True)
    ]
    expected = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, add_generation_prompt=True
    )
    assert chat_prompt(HFChatTokenizer(str(folder)), talk) == expected


def test_torchtunes_qwen2_tokenizer_leaves_the_turn_open(folder: Path) -> None:
    tokenizer = qwen2_tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    prompt = chat_prompt(tokenizer, ["What is seven?"])
    assert prompt[0] == tokenizer.im_start_id
    header = tokenizer.encode("assistant\n", add_bos=False, add_eos=False)
    assert prompt[-1 - len(header) :] == [tokenizer.im_start_id, *header]
