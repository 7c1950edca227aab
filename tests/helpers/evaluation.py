# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A tiny checkpoint that transformers and mos-tune both read, and questions for it."""

import json
import string
from collections.abc import Callable
from pathlib import Path

import torch
from helpers.hf_models import MAX_SEQ_LEN, VOCAB_SIZE, TinyModel, tiny_llama
from helpers.probing import torchtune_model
from helpers.runs import REPOSITORY
from omegaconf import DictConfig, OmegaConf
from tokenizers import AddedToken, Tokenizer, decoders, models, processors
from torchtune.modules import TransformerDecoder
from transformers import PreTrainedModel

TEMPLATE = (
    "{% if messages[0]['role'] == 'system' and no_system %}{{ raise_exception('no') }}{% endif %}"
    "{% for message in messages %}{{ '<u>' if message['role'] == 'user' else '<a>' }}"
    "{{ message['content'] + '</s>' }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<u>", "<a>"]


def write_tokenizer(directory: Path, *, bos: bool = False, template: str = TEMPLATE) -> None:
    """A token for every character and for some pairs; pad_token is the end, as often in models."""
    merges = [("A", "n"), (" ", "B"), ("e", "r"), (" ", "A"), ("s", "w")]
    tokens = [*SPECIAL, *string.printable, *map("".join, merges)]
    # All that a random model may say is text.
    tokens += [chr(0x100 + i) for i in range(VOCAB_SIZE - len(tokens))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
        )
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MAX_SEQ_LEN,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def both(
    make: Callable[[Path], TinyModel], directory: Path, model_type: str
) -> tuple[PreTrainedModel, TransformerDecoder]:
    """The same weights in transformers and in torchtune, in eval mode."""
    theirs, builder = make(directory)
    return theirs, torchtune_model(builder, directory, model_type).eval()


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    """Token ids of very different lengths, without special ones."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 40, (count,), generator=generator).tolist()
    return [torch.randint(5, 100, (n,), generator=generator).tolist() for n in lengths]


def write_questions(directory: Path, count: int = 11) -> Path:
    """The tasks ``mos_test_choice`` and ``mos_test_answer`` in the group ``mos_test``.

    The first is also in a group of its own, ``mos_test_choices``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "question": f"What is {i} and {'some ' * (i % 4)}more?",
            "choices": [str(i), "None of it"],
            "label": i % 2,
        }
        for i in range(count)
    ]
    file = directory / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "doc_to_text": "Q: {{question}}\nA:",
        "metadata": {"version": 1.0},
    }
    choice = {
        "task": "mos_test_choice",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    answer = {
        "task": "mos_test_answer",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "fewshot_split": "test",
        "num_fewshot": 1,
        "generation_kwargs": {"until": ["\n", "Q"], "do_sample": False, "max_gen_toks": 10},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    mean = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    members = ["mos_test_choice", "mos_test_answer"]
    group = {"group": "mos_test", "task": members, "aggregate_metric_list": mean}
    alone = {"group": "mos_test_choices", "task": members[:1]}
    for name, config in {
        "choice": source | choice,
        "answer": source | answer,
        "group": group,
        "alone": alone,
    }.items():
        (directory / f"{name}.yaml").write_text(json.dumps(config))
    return directory


def evaluated_run(directory: Path) -> DictConfig:
    """A finished training run in ``directory / "run"``, and the config to evaluate its export."""
    export = directory / "run" / "epoch_0"
    write_tokenizer(export)
    _, builder = tiny_llama(export)
    (directory / "run" / "mixture.jsonl").write_text(
        "".join(f"{json.dumps(event)}\n" for event in EVENTS)
    )
    cfg = OmegaConf.load(REPOSITORY / "configs" / "eval" / "smollm2_135M.yaml")
    cfg.model = builder
    cfg.checkpointer.model_type = "LLAMA3"
    cfg.checkpoint_dir = str(export)
    cfg.include_path = str(write_questions(directory / "tasks"))
    cfg.tasks = ["mos_test"]
    cfg.batch_size, cfg.max_seq_length, cfg.log_samples = 4, 128, True
    return cfg


REWARDS = {"rewards": {"a": 1.0, "b": 1.0}, "raw_rewards": {"a": 1.0, "b": 1.0}}
EVENTS = [
    {"event": "start", "step": 0, "names": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.5}},
    {"event": "update", "step": 4, "probabilities": {"a": 0.75, "b": 0.25}, **REWARDS},
    {"event": "update", "step": 8, "probabilities": {"a": 1.0, "b": 0.0}, **REWARDS},
    {"event": "end", "step": 8, "average_probabilities": {"a": 0.625, "b": 0.375}},
]
