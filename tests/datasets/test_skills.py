# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import collections
import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, padded_collate_sft
from torchtune.models.llama3 import llama3
from torchtune.training import MODEL_KEY

from mos_tune.datasets import skill_dataset
from mos_tune.datasets.skills import SKILLS, SkillExamples
from mos_tune.errors import UserError
from mos_tune.models import ScratchHFCheckpointer
from mos_tune.tokenizers import CharTokenizer

SIZES = dict(
    vocab_size=103,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    embed_dim=64,
    intermediate_dim=192,
    max_seq_len=64,
    rope_base=10_000,
    norm_eps=1e-5,
)


def symbols(text):
    return text.split(" ")[-1]


@pytest.mark.parametrize("similarity", [0.0, 1.0])
def test_every_answer_is_right(similarity):
    alphabets = {}
    for skill in SKILLS:
        examples = SkillExamples(skill=skill, size=200, similarity=similarity)
        # Symbols stand for numbers in the order of their codes, except that Z is followed by a.
        seen = sorted({c for i in range(200) for c in symbols(examples[i]["question"])})
        assert len(seen) == 10
        alphabets[skill] = "".join(seen)
        for i in range(200):
            question, answer = symbols(examples[i]["question"]), examples[i]["answer"]
            start = alphabets[skill].index(question[-1])
            expected = {
                "count": "".join(alphabets[skill][(start + k) % 10] for k in range(1, 9)),
                "copy": question,
                "sort": "".join(sorted(question)),
                "reverse": "".join(reversed(question)),
            }
            assert answer == expected[skill]
    if similarity == 1.0:
        assert set(alphabets.values()) == {"0123456789"}
    else:
        assert len(set("".join(alphabets.values()))) == 40  # no symbol belongs to two skills


def test_an_example_depends_on_seed_skill_and_index_alone():
    small, large = (
        SkillExamples(skill="copy", size=size, seed=3, similarity=0.5) for size in (10, 10**12)
    )
    forwards = [small[i] for i in range(10)]
    large[10**12 - 1]
    assert [large[i] for i in reversed(range(10))] == forwards[::-1]
    assert forwards[0] == {"question": "COPY ROOLOSNL", "answer": "ROOLOSNL"}


def test_seeds_and_skills_give_different_examples():
    rows = {
        tuple(
            symbols(SkillExamples(skill=skill, size=50, seed=seed)[i]["question"])
            for i in range(50)
        )
        for skill in SKILLS
        for seed in (0, 1)
    }
    assert len(rows) == 2 * len(SKILLS)
    assert len({row for batch in rows for row in batch}) == 50 * len(rows)


def test_items_are_what_torchtune_collates():
    tokenizer = CharTokenizer()
    dataset = skill_dataset(tokenizer, skill="reverse", size=4, length=5)
    assert len(dataset) == 4
    row = SkillExamples(skill="reverse", size=4, length=5)[3]
    item = dataset[3]
    assert tokenizer.decode(item["tokens"]) == row["question"] + row["answer"]
    trained = [token for token in item["labels"] if token != CROSS_ENTROPY_IGNORE_IDX]
    assert trained == tokenizer.encode(row["answer"], add_bos=False)
    batch = padded_collate_sft([dataset[i] for i in range(4)], padding_idx=tokenizer.pad_id)
    assert batch["tokens"].shape == batch["labels"].shape
    assert len(list(SkillExamples(skill="reverse", size=4))) == 4


@pytest.mark.parametrize("length", [1, 8, 20])
def test_length_counts_the_symbols(length):
    for skill in SKILLS:
        row = SkillExamples(skill=skill, size=1, length=length)[0]
        assert len(symbols(row["question"])) == len(row["answer"]) == length


def entropy(skill, difficulty):
    """Entropy of an answer's symbols, in nats."""
    examples = SkillExamples(skill=skill, size=1000, difficulty=difficulty)
    counts = collections.Counter("".join(row["answer"] for row in examples))
    total = sum(counts.values())
    return -sum(n / total * math.log(n / total) for n in counts.values())


@pytest.mark.parametrize("skill", SKILLS)
def test_difficulty_is_the_perplexity_of_knowing_the_symbols_only(skill):
    for difficulty in (2, 5, 10):
        assert math.exp(entropy(skill, difficulty)) == pytest.approx(difficulty, rel=0.01)


def histogram(examples):
    counts = collections.Counter("".join("".join(row.values()) for row in examples))
    return torch.tensor([float(counts[chr(code)]) for code in range(32, 127)])


@pytest.mark.parametrize("skill", SKILLS)
def test_similarity_brings_the_characters_closer_to_the_other_skills(skill):
    others = [histogram(SkillExamples(skill=other, size=300)) for other in SKILLS if other != skill]
    cosines = []
    for similarity in (0.0, 0.5, 1.0):
        own = histogram(SkillExamples(skill=skill, size=300, similarity=similarity))
        cosines.append(min(F.cosine_similarity(own, other, dim=0).item() for other in others))
    assert cosines[0] < 0.25 < 0.5 < cosines[1] < 0.75 < 0.8 < cosines[2]


def make_model(tmp_path, seed=0):
    checkpointer = ScratchHFCheckpointer(
        str(tmp_path / f"start{seed}"), str(tmp_path / "out"), seed=seed, **SIZES
    )
    model = llama3(**SIZES)
    model.load_state_dict(checkpointer.load_checkpoint()[MODEL_KEY])
    return model


def collate(dataset, indices):
    return padded_collate_sft(
        [dataset[i] for i in indices], padding_idx=CharTokenizer().pad_id
    ).values()


def loss_per_example(model, dataset, indices):
    tokens, labels = collate(dataset, indices)
    losses = F.cross_entropy(model(tokens)[:, :-1].mT, labels[:, 1:], reduction="none")
    return losses.sum(dim=1) / (labels[:, 1:] != CROSS_ENTROPY_IGNORE_IDX).sum(dim=1)


def train(model, datasets, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    chooser = random.Random(0)
    for step in range(steps):
        indices = chooser.sample(range(200), 16)
        loss = sum(loss_per_example(model, dataset, indices).mean() for dataset in datasets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss), step


@torch.no_grad()
def embedding(model: nn.Module, dataset, count=64):
    """Mean over examples of the mean over tokens of the hidden state, shape ``[d]``."""
    states = []
    hook = model.norm.register_forward_hook(lambda module, args, output: states.append(output))
    tokens, _ = collate(dataset, range(count))
    model(tokens)
    hook.remove()
    real = (tokens != CharTokenizer().pad_id)[..., None]
    return ((states[0] * real).sum(dim=1) / real.sum(dim=1)).mean(dim=0)


@pytest.mark.parametrize("outlier", SKILLS)
def test_a_skill_in_its_own_style_is_the_outlier_before_and_after_training(outlier, tmp_path):
    datasets = [
        skill_dataset(
            CharTokenizer(), skill=skill, size=200, similarity=0.0 if skill == outlier else 1.0
        )
        for skill in SKILLS
    ]
    model = make_model(tmp_path)
    for steps in (0, 25):
        train(model, datasets, steps)
        directions = F.normalize(torch.stack([embedding(model, d) for d in datasets]), dim=1)
        rewards = dict(zip(SKILLS, (directions @ directions.T).mean(dim=1).tolist(), strict=True))
        lowest = rewards.pop(outlier)
        assert lowest < min(rewards.values()) - 0.05, (steps, lowest, rewards)


def test_more_symbols_keep_more_of_the_starting_perplexity(tmp_path):
    datasets = [
        skill_dataset(CharTokenizer(), skill="copy", size=200, difficulty=difficulty)
        for difficulty in (2, 10)
    ]
    model = make_model(tmp_path)
    with torch.no_grad():
        before = [loss_per_example(model, dataset, range(64)) for dataset in datasets]
    assert [loss.mean().item() for loss in before] == pytest.approx([math.log(103)] * 2, abs=0.3)
    train(model, datasets, 40)
    with torch.no_grad():
        ratios = [
            (loss_per_example(model, dataset, range(64)) - start).exp().mean().item()
            for dataset, start in zip(datasets, before, strict=True)
        ]
    assert ratios[0] < 0.5 * ratios[1] < 0.1, ratios


@pytest.mark.parametrize(
    "knobs, message",
    [
        ({"skill": "add"}, "skill must be one of count, copy, sort, reverse, got 'add'"),
        ({"size": 0}, "size of the dataset of skill sort must be at least 1, got 0"),
        ({"difficulty": 11}, "difficulty .* skill sort must be from 2 to 10, got 11"),
        ({"difficulty": 1}, "difficulty .* skill sort must be from 2 to 10, got 1"),
        ({"similarity": -0.1}, "similarity .* skill sort must be from 0 to 1, got -0.1"),
        ({"length": 0}, "length .* skill sort must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named(knobs, message):
    with pytest.raises(UserError, match=message):
        skill_dataset(CharTokenizer(), **{"skill": "sort", "size": 10, **knobs})


@pytest.mark.parametrize("index", [-1, 5])
def test_there_is_no_example_outside_the_dataset(index):
    with pytest.raises(IndexError, match=f"5 examples, got index {index}"):
        SkillExamples(skill="sort", size=5)[index]
