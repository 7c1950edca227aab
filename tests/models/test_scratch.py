# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torchtune import config
from torchtune.models.llama3 import llama3
from torchtune.training import MODEL_KEY
from transformers import AutoModelForCausalLM

from mos_tune.errors import UserError
from mos_tune.models import ScratchHFCheckpointer
from mos_tune.tokenizers import CharTokenizer

SIZES = dict(
    vocab_size=103,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    embed_dim=32,
    intermediate_dim=80,
    max_seq_len=64,
    rope_base=10_000,
    norm_eps=1e-5,
)
TOKENS = torch.arange(40).reshape(2, 20)


def make(tmp_path, **changes):
    return ScratchHFCheckpointer(
        str(tmp_path / "start"), str(tmp_path / "out"), **{**SIZES, **changes}
    )


def loaded(checkpointer):
    model = llama3(**SIZES)
    model.load_state_dict(checkpointer.load_checkpoint()[MODEL_KEY], strict=True)
    return model.eval()


@torch.no_grad()
def assert_same_logits(model, folder):
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.testing.assert_close(model(TOKENS), reference(TOKENS).logits, atol=1e-5, rtol=0)
    return reference


def test_transformers_reads_the_start_with_the_same_logits(tmp_path):
    model = loaded(make(tmp_path))
    reference = assert_same_logits(model, tmp_path / "start")
    tokenizer = CharTokenizer()
    assert reference.config.bos_token_id == tokenizer.bos_id
    assert reference.config.eos_token_id == tokenizer.eos_id


def test_transformers_reads_what_is_saved_after_training(tmp_path):
    checkpointer = make(tmp_path)
    model = loaded(checkpointer)
    before = model(TOKENS).detach()
    model(TOKENS).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert (model(TOKENS) - before).abs().max() > 1e-2
    checkpointer.save_checkpoint({MODEL_KEY: model.state_dict()}, epoch=0)
    saved = tmp_path / "out" / "epoch_0"
    assert_same_logits(model, saved)
    assert (saved / "config.json").read_text() == (tmp_path / "start/config.json").read_text()


def test_weights_have_the_stated_spread(tmp_path):
    sizes = dict(embed_dim=128, intermediate_dim=256, num_heads=4, num_kv_heads=4)
    make(tmp_path, **sizes)
    weights = load_file(tmp_path / "start" / "model.safetensors")
    into_residual = 6**-0.5
    for end, std in {
        "embed_tokens.weight": 0.02,
        "lm_head.weight": 0.02,
        "q_proj.weight": 128**-0.5,
        "k_proj.weight": 128**-0.5,
        "v_proj.weight": 128**-0.5,
        "o_proj.weight": 128**-0.5 * into_residual,
        "gate_proj.weight": 128**-0.5,
        "up_proj.weight": 128**-0.5,
        "down_proj.weight": 256**-0.5 * into_residual,
    }.items():
        drawn = torch.cat([w.flatten() for name, w in weights.items() if name.endswith(end)])
        assert drawn.std().item() == pytest.approx(std, rel=0.03), end
        assert abs(drawn.mean().item()) < 0.05 * std, end
    norms = [w for name, w in weights.items() if "norm" in name]
    assert len(norms) == 2 * 3 + 1 and all((w == 1).all() for w in norms)


def test_the_start_is_a_guess_among_all_tokens(tmp_path):
    with torch.no_grad():
        log_probabilities = loaded(make(tmp_path))(TOKENS).log_softmax(dim=-1)
    assert -log_probabilities.mean().item() == pytest.approx(math.log(103), abs=0.1)


def test_the_seed_decides_the_weights(tmp_path):
    first, again, other = (
        make(tmp_path / name, seed=seed).load_checkpoint()[MODEL_KEY]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    name = "layers.0.attn.q_proj.weight"
    assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])


def test_an_existing_start_is_kept(tmp_path):
    make(tmp_path)
    file = tmp_path / "start" / "model.safetensors"
    time = file.stat().st_mtime_ns
    make(tmp_path)
    assert file.stat().st_mtime_ns == time
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "start"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_layers": 2}, "checkpointer.num_layers is 2, but .*start has 3; delete"),
        ({"seed": 5}, "checkpointer.seed is 5, but .*start has 0; delete"),
        ({"rope_base": 500_000}, "checkpointer.rope_base is 500000, but .*start has 10000;"),
    ],
)
def test_a_start_of_other_sizes_is_refused(tmp_path, changes, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        make(tmp_path, **changes)


def test_files_of_somebody_else_are_left_alone(tmp_path):
    (tmp_path / "start").mkdir()
    file = tmp_path / "start" / "model.safetensors"
    file.write_text("precious")
    with pytest.raises(UserError, match="checkpoint_dir .*start has files but no config.json"):
        make(tmp_path)
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"embed_dim": 30}, r"embed_dim must be a multiple of num_heads \(4\), got 30"),
        ({"num_kv_heads": 3}, r"num_heads must be a multiple of num_kv_heads \(3\), got 4"),
    ],
)
def test_sizes_that_do_not_fit_leave_nothing_behind(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        make(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_every_rank_finds_the_whole_start(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(
        "import json, sys, time\n"
        "from pathlib import Path\n"
        "import torch, torch.distributed as dist\n"
        "import mos_tune.models.scratch as scratch\n"
        "rank, folder, sizes = int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])\n"
        "store = dist.FileStore(str(folder / 'store'), 2)\n"
        "dist.init_process_group('gloo', store=store, rank=rank, world_size=2)\n"
        "write = scratch._write\n"
        "def slow_write(*args):\n"
        "    assert rank == 0\n"
        "    time.sleep(1)\n"
        "    write(*args)\n"
        "scratch._write = slow_write\n"
        "checkpointer = scratch.ScratchHFCheckpointer(\n"
        "    str(folder / 'start'), str(folder / 'out'), **sizes)\n"
        "weights = checkpointer.load_checkpoint()['model'].values()\n"
        "total = sum(weight.double().sum() for weight in weights).reshape(1)\n"
        "totals = [torch.zeros_like(total) for _ in range(2)]\n"
        "dist.all_gather(totals, total)\n"
        "assert totals[0] == totals[1] != 0, totals\n"
        "dist.destroy_process_group()\n"
    )
    root = Path(__file__).parents[2]
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path, json.dumps(SIZES)],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root), "RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=1200)
        assert rank.returncode == 0, errors.decode()


def test_the_embedded_config_fits_together(tmp_path):
    cfg = OmegaConf.load(Path(__file__).parents[2] / "configs" / "tiny_llama3_mos.yaml")
    cfg.output_dir = str(tmp_path)
    tokenizer = config.instantiate(cfg.tokenizer)
    assert cfg.model.vocab_size == tokenizer.vocab_size
    checkpointer = config.instantiate(cfg.checkpointer, should_load_recipe_state=False)
    model = config.instantiate(cfg.model)
    model.load_state_dict(checkpointer.load_checkpoint()[MODEL_KEY], strict=True)
    assert_same_logits(model, tmp_path / "theta_0")
    sizes = {}
    for name, section in cfg.dataset.items():
        dataset = config.instantiate(section, tokenizer)
        sizes[name] = len(dataset)
        for index in (0, len(dataset) - 1):
            assert model(torch.tensor([dataset[index]["tokens"]])).isfinite().all()
    assert sizes == {"count": 20000, "copy": 4000, "sort": 1000, "reverse": 500}
