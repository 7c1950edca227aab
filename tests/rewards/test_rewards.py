# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Both rewards against transformers on the same weights, on 1 and on 2 ranks."""

import pytest
import torch
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2
from helpers.probing import examples, probes, shard, torchtune_model
from helpers.ranks import on_ranks

from mos_tune.errors import UserError
from mos_tune.rewards import DifficultyReward, TransferabilityReward, measuring

ARCHITECTURES = {
    "llama3": (tiny_llama, "LLAMA3"),
    "gemma": (tiny_gemma, "GEMMA"),
    "qwen2": (tiny_qwen2, "QWEN2"),
}
DATASETS = {"a": examples(7, 0), "b": examples(5, 1), "c": examples(4, 2)}
NAMES = list(DATASETS)


def perturb(model):
    """Move every weight, so that theta differs from theta_0."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


def measured(model, specialist=None, **where):
    """Both rewards of the perturbed model, with theta_0's numbers from before."""
    difficulty = DifficultyReward(NAMES, specialist=specialist)
    transferability = TransferabilityReward(NAMES, specialist=specialist)
    with measuring(model):
        difficulty.prepare(model, probes(DATASETS, **where))
        perturb(model)
        return (
            difficulty.measure(model, probes(DATASETS, **where)),
            transferability.measure(model, probes(DATASETS, **where)),
        )


@torch.no_grad()
def expected(hf_model):
    """Eq. 7 to 10 written down example by example, without padding, in transformers."""

    def perplexity(row):
        tokens = torch.tensor([row["tokens"]])
        log_p = hf_model(tokens).logits.double().log_softmax(dim=-1)[0, :-1]
        answers = [k for k in range(1, len(row["labels"])) if row["labels"][k] != -100]
        return torch.exp(-sum(log_p[k - 1, row["tokens"][k]] for k in answers) / len(answers))

    def embedding(rows):
        hidden = [
            hf_model.model(torch.tensor([row["tokens"]])).last_hidden_state[0].double().mean(dim=0)
            for row in rows
        ]
        return torch.stack(hidden).mean(dim=0)

    before = {name: [perplexity(row) for row in rows] for name, rows in DATASETS.items()}
    perturb(hf_model)
    difficulty = torch.stack(
        [
            torch.stack(
                [perplexity(row) / old for row, old in zip(DATASETS[n], before[n], strict=True)]
            ).mean()
            for n in NAMES
        ]
    )
    z = torch.stack([embedding(DATASETS[name]) for name in NAMES])
    cosines = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=2)
    return difficulty, cosines


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Per architecture: torchtune's builder, the checkpoint, its type, and what is expected."""
    made = {}
    for name, (write, model_type) in ARCHITECTURES.items():
        directory = tmp_path_factory.mktemp(name)
        hf_model, builder = write(directory)
        made[name] = builder, directory, model_type, expected(hf_model)
    return made


@pytest.fixture(params=ARCHITECTURES)
def case(request, cases):
    return cases[request.param]


def test_rewards_agree_with_transformers(case):
    builder, directory, model_type, (ratios, cosines) = case
    difficulty, transferability = measured(torchtune_model(builder, directory, model_type))
    torch.testing.assert_close(difficulty, ratios, rtol=1e-4, atol=0)
    torch.testing.assert_close(transferability, cosines.mean(dim=1), rtol=1e-4, atol=0)
    assert difficulty.std() > 1e-3 and transferability.std() > 1e-3


def test_a_specialist_changes_the_rewards_as_in_section_6(case):
    builder, directory, model_type, (ratios, cosines) = case
    model = torchtune_model(builder, directory, model_type)
    difficulty, transferability = measured(model, specialist="b")
    torch.testing.assert_close(
        difficulty, ratios * torch.tensor([1.0, 2.0, 1.0]), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(transferability, cosines[:, 1], rtol=1e-4, atol=1e-6)
    assert transferability[1] == pytest.approx(1.0)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_rewards_do_not_depend_on_the_micro_batch(case, batch_size):
    builder, directory, model_type, _ = case
    one = measured(torchtune_model(builder, directory, model_type))
    other = measured(torchtune_model(builder, directory, model_type), batch_size=batch_size)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=0)


def _on_a_rank(rank, world_size, runs):
    results = []
    for builder, directory, model_type, separate in runs:
        model = torchtune_model(builder, directory, model_type)
        shard(model, world_size, separate)
        results.append(measured(model, rank=rank, world_size=world_size, batch_size=2))
    return results


def test_rewards_are_the_same_on_2_ranks_under_fsdp2(cases, tmp_path):
    runs = [(*case[:3], None) for case in cases.values()]
    runs.append((*cases["llama3"][:3], ["output"]))  # the output layer sharded on its own
    references = [*cases.values(), cases["llama3"]]
    both = on_ranks(2, _on_a_rank, tmp_path, runs)
    for run, case, first, second in zip(runs, references, *both, strict=True):
        one = measured(torchtune_model(*run[:3]), batch_size=2)
        for on_one_rank, on_first, on_second in zip(one, first, second, strict=True):
            torch.testing.assert_close(on_first, on_one_rank, rtol=1e-6, atol=0)
            assert torch.equal(on_first, on_second)
        torch.testing.assert_close(first[0], case[3][0], rtol=1e-4, atol=0)


def test_examples_without_a_response_are_left_out_of_difficulty(case):
    builder, directory, model_type, (ratios, _) = case
    model = torchtune_model(builder, directory, model_type)
    silent = {"tokens": [5, 6, 7], "labels": [-100] * 3}
    datasets = DATASETS | {"a": [*DATASETS["a"], silent]}
    reward = DifficultyReward(NAMES)
    with measuring(model):
        reward.prepare(model, probes(datasets))
        perturb(model)
        torch.testing.assert_close(
            reward.measure(model, probes(datasets)), ratios, rtol=1e-4, atol=0
        )


def test_difficulty_needs_theta_0_only_as_numbers(case):
    builder, directory, model_type, _ = case
    model = torchtune_model(builder, directory, model_type)
    first, second = DifficultyReward(NAMES), DifficultyReward(NAMES)
    with measuring(model):
        first.prepare(model, probes(DATASETS))
        perturb(model)
        expected = first.smooth(first.measure(model, probes(DATASETS)))
        second.load_state_dict(first.state_dict())
        second._smoothed = None
        torch.testing.assert_close(second.smooth(second.measure(model, probes(DATASETS))), expected)


def test_a_dataset_without_any_response_stops_with_its_name(case):
    builder, directory, model_type, _ = case
    model = torchtune_model(builder, directory, model_type)
    datasets = DATASETS | {"b": [{"tokens": [5, 6, 7], "labels": [-100] * 3}]}
    reward = DifficultyReward(NAMES)
    with measuring(model):
        reward.prepare(model, probes(datasets))
        with pytest.raises(UserError, match="the reward of dataset.b is nan"):
            reward.smooth(reward.measure(model, probes(datasets)))
