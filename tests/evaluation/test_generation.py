# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from helpers.evaluation import both, prompts
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2

from mos_tune.evaluation.generation import Sampler, generate, greedy

NEW = 12


def never(tokens):
    return False


def one_by_one(model, prompt, count=NEW):
    """The tokens of a plain forward pass for each."""
    tokens = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("cache_dtype", [torch.float32, None])
@pytest.mark.parametrize(
    ("make", "model_type"),
    [(tiny_llama, "LLAMA3"), (tiny_gemma, "GEMMA"), (tiny_qwen2, "QWEN2")],
)
def test_a_padded_batch_with_cache_answers_as_each_prompt_alone(
    make, model_type, cache_dtype, tmp_path
):
    theirs, model = both(make, tmp_path / "model", model_type)
    batch = prompts(5)
    answers = generate(
        model,
        batch,
        choose=greedy,
        is_finished=never,
        max_new_tokens=NEW,
        cache_dtype=cache_dtype,
    )
    assert answers == [one_by_one(model, prompt) for prompt in batch]
    inputs = torch.tensor([batch[0]])
    hf = theirs.generate(
        inputs, max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert answers[0] == hf[0, inputs.shape[1] :].tolist()
    # Nothing is left of the cache for the next forward pass.
    assert not model.caches_are_setup()


def test_rows_finish_on_their_own(tmp_path):
    _, model = both(tiny_llama, tmp_path / "model", "LLAMA3")
    batch = prompts(4)
    alone = [one_by_one(model, prompt) for prompt in batch]
    ends = [row[i] for i, row in enumerate(alone)]
    answers = generate(
        model,
        batch,
        choose=greedy,
        is_finished=lambda tokens: tokens[-1] in ends,
        max_new_tokens=NEW,
        cache_dtype=torch.float32,
    )
    expected = [
        row[: next((i + 1 for i, token in enumerate(row) if token in ends), NEW)] for row in alone
    ]
    assert answers == expected
    assert len({len(row) for row in answers}) > 1


def test_a_sampled_answer_depends_on_its_seed_alone(tmp_path):
    _, model = both(tiny_llama, tmp_path / "model", "LLAMA3")
    batch, seeds = prompts(4), [7, 8, 9, 7]

    def sampled(prompts, seeds):
        return generate(
            model,
            prompts,
            choose=Sampler(seeds, temperature=1.5),
            is_finished=never,
            max_new_tokens=NEW,
            cache_dtype=torch.float32,
        )

    together = sampled(batch, seeds)
    assert together == [sampled([p], [s])[0] for p, s in zip(batch, seeds, strict=True)]
    assert sampled(batch[:1], [10]) != together[:1]


def test_sampling_follows_temperature_top_k_and_top_p():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])

    def shares(**options):
        sampler = Sampler([0], **options)
        drawn = torch.tensor([sampler(logits)[0] for _ in range(4000)])
        return torch.bincount(drawn, minlength=4) / 4000

    def expected(temperature, kept):
        probabilities = (logits[0] / temperature).softmax(0) * torch.tensor(kept)
        return probabilities / probabilities.sum()

    close = {"atol": 0.03, "rtol": 0}
    torch.testing.assert_close(shares(temperature=2.0), expected(2, [1, 1, 1, 1]), **close)
    torch.testing.assert_close(shares(temperature=1.0, top_k=2), expected(1, [1, 1, 0, 0]), **close)
    # 0.64 and 0.24: the third token is the one that crosses 0.9.
    torch.testing.assert_close(
        shares(temperature=1.0, top_p=0.9), expected(1, [1, 1, 1, 0]), **close
    )
    assert shares(temperature=1.0, top_p=0.1)[0] == 1
