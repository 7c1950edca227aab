# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import pickle
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torchtune.data import Message
from torchtune.datasets import instruct_dataset
from transformers import AutoTokenizer

from mos_tune.errors import UserError
from mos_tune.tokenizers import HFChatTokenizer

CHATML = """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
Be brief.<|im_end|>
{% endif %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

# No header for the assistant, spaces around the answer: as Llama 2 and Mistral have it.
INST = """{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}
{% for message in messages %}{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}{% else %}
{% generation %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endgeneration %}
{% endif %}{% endfor %}"""

# Earlier answers vanish once a further turn follows: as reasoning models have it.
FORGETFUL = """{% for message in messages %}{% if message['role'] == 'user' or loop.last %}
{{ '<|im_start|>' + message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}
{% if add_generation_prompt %}<|im_start|>{% endif %}"""

REAL = Path("data/smollm2/model")


def write_tokenizer(directory: Path, template: str | None, **config: object) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<pad>"]
    text = ["What is the sum of seven and five? It is twelve.\n\n"] * 9
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True) for t in special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"},
        "pad_token": "<pad>",
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        **config,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    return directory


def conversation(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role=role, content=text, masked=role != "assistant") for role, text in turns]


def trained_text(tokenizer: HFChatTokenizer, messages: list[Message]) -> str:
    tokens, mask = tokenizer.tokenize_messages(messages)
    kept = [t for t, masked in zip(tokens, mask, strict=True) if not masked]
    return tokenizer.decode(kept, skip_special_tokens=False)


CONVERSATIONS = [
    conversation(("user", "What is 7 + 5?"), ("assistant", "It is 12.")),
    conversation(
        ("user", "Sum of seven and five?"),
        ("assistant", "  twelve \n"),
        ("user", "Grüße, 世界 🙂"),
        ("assistant", "🙂 très bien\n\n世界"),
    ),
]


@pytest.mark.parametrize("template", [CHATML, INST])
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_tokens_are_those_of_transformers(
    tmp_path: Path, template: str, messages: list[Message]
) -> None:
    directory = write_tokenizer(tmp_path, template)
    theirs = AutoTokenizer.from_pretrained(directory)
    ours = HFChatTokenizer(str(directory))
    turns = [{"role": m.role, "content": m.text_content} for m in messages]
    tokens, mask = ours.tokenize_messages(messages)
    assert tokens == theirs.apply_chat_template(turns)
    assert len(mask) == len(tokens)
    opened, _ = ours.tokenize_messages(messages[:-1], add_end_tokens=False)
    assert opened == theirs.apply_chat_template(turns[:-1], add_generation_prompt=True)


def test_only_answers_and_their_end_tokens_are_trained_on(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, CHATML)))
    assert trained_text(tokenizer, CONVERSATIONS[0]) == "It is 12.<|im_end|>"
    expected = "  twelve \n<|im_end|>🙂 très bien\n\n世界<|im_end|>"
    assert trained_text(tokenizer, CONVERSATIONS[1]) == expected


def test_template_without_assistant_header(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, INST, eos_token="</s>")))
    assert trained_text(tokenizer, CONVERSATIONS[0]) == " It is 12. </s>"


def test_token_over_the_border_of_header_and_answer_is_trained_on(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path, CHATML)
    tokenizer = HFChatTokenizer(str(directory))
    # The header ends in a line break, which merges with the answer's first into one token.
    assert len(tokenizer.encode("\n\n", add_bos=False, add_eos=False)) == 1
    messages = conversation(("user", "What?"), ("assistant", "\n\nfive"))
    assert trained_text(tokenizer, messages) == "\n\n\nfive<|im_end|>"


def test_masks_of_the_messages_are_respected(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, CHATML)))
    messages = CONVERSATIONS[1]
    first_masked = [
        Message(role=m.role, content=m.text_content, masked=i < 3) for i, m in enumerate(messages)
    ]
    assert trained_text(tokenizer, first_masked) == "🙂 très bien\n\n世界<|im_end|>"
    with_input = [Message(role=m.role, content=m.text_content) for m in messages[:2]]
    text = trained_text(tokenizer, with_input)
    assert "Sum of seven and five?<|im_end|>" in text
    assert text.endswith("  twelve \n<|im_end|>")
    assert "assistant" not in text


def test_truncation_cuts_the_end(tmp_path: Path) -> None:
    directory = str(write_tokenizer(tmp_path, CHATML))
    tokens, mask = HFChatTokenizer(directory).tokenize_messages(CONVERSATIONS[0])
    for length in (1, len(tokens) - 2, len(tokens), len(tokens) + 5):
        short = HFChatTokenizer(directory, max_seq_len=length)
        assert short.tokenize_messages(CONVERSATIONS[0]) == (tokens[:length], mask[:length])


def test_works_as_the_tokenizer_of_a_torchtune_dataset(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path / "model", CHATML)))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"input": "What is 7 + 5?", "output": "It is 12."}) + "\n")
    dataset = instruct_dataset(tokenizer, source="json", data_files=str(rows), split="train")
    tokens, _ = tokenizer.tokenize_messages(CONVERSATIONS[0])
    assert dataset[0]["tokens"] == tokens
    kept = [label for label in dataset[0]["labels"] if label != -100]
    assert tokenizer.decode(kept, skip_special_tokens=False) == "It is 12.<|im_end|>"


def test_call_adds_tokens_and_mask_and_keeps_the_rest(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, CHATML)))
    sample = tokenizer({"messages": CONVERSATIONS[0], "id": 3})
    assert sorted(sample) == ["id", "mask", "tokens"]
    open_end = [*CONVERSATIONS[0][:1], Message(role="assistant", content="")]
    inference = tokenizer({"messages": open_end}, inference=True)
    assert tokenizer.decode(inference["tokens"], skip_special_tokens=False).endswith(
        "What is 7 + 5?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_encode_decode_and_special_ids(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path, CHATML)
    (directory / "generation_config.json").write_text('{"eos_token_id": [1, 3]}')
    tokenizer = HFChatTokenizer(str(directory))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (2, 1, 4)
    assert tokenizer.stop_tokens == [1, 3]
    assert tokenizer.special_tokens["<|im_start|>"] == 0
    assert tokenizer.vocab_size == len(AutoTokenizer.from_pretrained(directory))
    ids = tokenizer.encode("It is 世界.")
    assert (ids[0], ids[-1]) == (2, 1)
    assert tokenizer.decode(ids) == "It is 世界."
    assert ids[1:-1] == tokenizer.encode("It is 世界.", add_bos=False, add_eos=False)


def test_no_bos_token_and_no_pad_token(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path, CHATML, bos_token=None, pad_token=None)
    tokenizer = HFChatTokenizer(str(directory))
    assert tokenizer.pad_id == tokenizer.eos_id
    assert tokenizer.encode("It", add_eos=False) == tokenizer.encode("It", add_bos=False)[:-1]


def test_template_file_and_named_templates(tmp_path: Path) -> None:
    plain = HFChatTokenizer(str(write_tokenizer(tmp_path / "a", CHATML)))
    in_file = write_tokenizer(tmp_path / "b", "{{ not this one }}")
    (in_file / "chat_template.jinja").write_text(CHATML)
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
    in_list = write_tokenizer(tmp_path / "c", None, chat_template=named)
    for directory in (in_file, in_list):
        other = HFChatTokenizer(str(directory))
        messages = CONVERSATIONS[1]
        assert other.tokenize_messages(messages) == plain.tokenize_messages(messages)


def test_can_be_sent_to_another_process(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, CHATML)))
    copy = pickle.loads(pickle.dumps(tokenizer))
    expected = tokenizer.tokenize_messages(CONVERSATIONS[0])
    assert copy.tokenize_messages(CONVERSATIONS[0]) == expected


def test_template_that_rewrites_the_past_is_refused(tmp_path: Path) -> None:
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path, FORGETFUL)))
    assert trained_text(tokenizer, CONVERSATIONS[0]) == "It is 12.<|im_end|>"
    with pytest.raises(UserError, match=r"message 2 \(assistant\)"):
        tokenizer.tokenize_messages(CONVERSATIONS[1])


def test_template_cannot_leave_the_sandbox(tmp_path: Path) -> None:
    escape = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path / "a", escape)))
    with pytest.raises(UserError, match="unsafe"):
        tokenizer.tokenize_messages(CONVERSATIONS[0])
    change = "{{ messages.append(1) }}"
    tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path / "b", change)))
    with pytest.raises(UserError, match="unsafe"):
        tokenizer.tokenize_messages(CONVERSATIONS[0])


def test_errors_name_the_file_and_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere, where no tokenizer\.json is"):
        HFChatTokenizer(str(tmp_path / "nowhere"))
    directory = str(write_tokenizer(tmp_path / "a", None))
    with pytest.raises(UserError, match="has no chat_template"):
        HFChatTokenizer(directory)
    directory = str(write_tokenizer(tmp_path / "b", "{% if %}"))
    with pytest.raises(UserError, match="cannot be parsed"):
        HFChatTokenizer(directory)
    directory = str(write_tokenizer(tmp_path / "c", CHATML, eos_token="<no such token>"))
    with pytest.raises(UserError, match="eos_token '<no such token>'"):
        HFChatTokenizer(directory)
    directory = str(write_tokenizer(tmp_path / "d", INST))
    with pytest.raises(UserError, match="no system here"):
        HFChatTokenizer(directory).tokenize_messages(conversation(("system", "x"), ("user", "y")))
    with pytest.raises(UserError, match="max_seq_len must be a whole number of at least 1, got 0"):
        HFChatTokenizer(directory, max_seq_len=0)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        broken = write_tokenizer(tmp_path / name, CHATML)
        (broken / name).write_text((broken / name).read_text()[:50])
        with pytest.raises(UserError, match=f"^tokenizer.tokenizer_dir: {broken / name} is "):
            HFChatTokenizer(str(broken))
    picture = Message(role="user", content=[{"type": "image", "content": None}])
    with pytest.raises(UserError, match="holds image content"):
        HFChatTokenizer(directory).tokenize_messages([picture])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs mos-tune prepare smollm2")
@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_real_tokenizer_agrees_with_transformers(messages: list[Message]) -> None:
    theirs = AutoTokenizer.from_pretrained(REAL)
    turns = [{"role": m.role, "content": m.text_content} for m in messages]
    tokens, _ = HFChatTokenizer(str(REAL)).tokenize_messages(messages)
    assert tokens == theirs.apply_chat_template(turns)
