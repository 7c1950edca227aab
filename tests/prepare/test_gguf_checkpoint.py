# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from torchtune.data import Message
from torchtune.models.llama3_2 import llama3_2
from torchtune.training import FullModelHFCheckpointer
from transformers import AutoModelForCausalLM, AutoTokenizer

from mos_tune.errors import UserError
from mos_tune.prepare.gguf_checkpoint import GGUFFile, convert_gguf
from mos_tune.tokenizers import HFChatTokenizer


@pytest.fixture(scope="module")
def checkpoint(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    convert_gguf(tiny.path, directory)
    return directory


def test_weights_are_those_of_the_model(tiny: SimpleNamespace, checkpoint: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(model) is type(tiny.model)
    expected = tiny.model.state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    for key in ("rope_theta", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"):
        assert getattr(model.config, key) == getattr(tiny.model.config, key), key
    assert model.generation_config.eos_token_id == 2


def test_torchtune_gives_the_same_logits(
    tiny: SimpleNamespace, checkpoint: Path, tmp_path: Path
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    model = llama3_2(
        vocab_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        embed_dim=config["hidden_size"],
        max_seq_len=config["max_position_embeddings"],
        rope_base=int(config["rope_theta"]),
        intermediate_dim=config["intermediate_size"],
        norm_eps=config["rms_norm_eps"],
        scale_factor=1,
    )
    checkpointer = FullModelHFCheckpointer(
        checkpoint_dir=str(checkpoint),
        checkpoint_files=["model.safetensors"],
        model_type="LLAMA3_2",
        output_dir=str(tmp_path),
    )
    model.load_state_dict(checkpointer.load_checkpoint()["model"], strict=True)
    tokens = torch.arange(40).reshape(2, 20)
    with torch.no_grad():
        expected = tiny.model(tokens).logits
        assert expected.abs().max() > 1
        torch.testing.assert_close(model.eval()(tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["What is 7 + 15?", "  Sum\n\nof 22, 世界 🙂", "<|im_end|>x"])
def test_tokenizer_is_the_one_in_the_file(
    tiny: SimpleNamespace, checkpoint: Path, text: str
) -> None:
    expected = tiny.tokenizer.encode(text).ids
    theirs = AutoTokenizer.from_pretrained(checkpoint)
    assert theirs(text)["input_ids"] == expected
    assert theirs.decode(expected) == text
    ours = HFChatTokenizer(str(checkpoint))
    assert ours.encode(text, add_bos=False, add_eos=False) == expected
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (1, 2, 2)
    tokens, _ = ours.tokenize_messages([Message(role="user", content="Sum?", masked=True)])
    assert tokens == theirs.apply_chat_template([{"role": "user", "content": "Sum?"}])


def test_quantised_tensors_are_dequantised(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(4, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    writer.add_tensor("token_embd.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = GGUFFile(tmp_path / "q.gguf").tensors()["token_embd.weight"]
    assert found.shape == weight.shape
    # Blocks of 32 values are stored in 15 equal steps between their ends.
    blocks = weight.reshape(-1, 32)
    step = (blocks.max(1) - blocks.min(1)) / 15
    error = np.abs(found - weight).reshape(-1, 32).max(1)
    assert (error < 0.6 * step).all()
    assert error.max() > 0


def write(path: Path, architecture: str, **values: str) -> GGUFFile:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in values.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("x.weight", np.zeros(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFFile(path)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.gguf", "gemma")
    with pytest.raises(UserError, match="general.architecture = 'gemma'; only 'llama'"):
        convert_gguf(tmp_path / "x.gguf", tmp_path)
    file = write(tmp_path / "y.gguf", "llama", tokenizer__ggml__model="llama")
    with pytest.raises(UserError, match="tokenizer.ggml.model = 'llama'; only 'gpt2'"):
        file.expect("tokenizer.ggml.model", "gpt2")
    with pytest.raises(UserError, match=r"y\.gguf has no tokenizer\.chat_template"):
        file.value("tokenizer.chat_template")


def test_missing_gguf_package_says_how_to_install_it(
    tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[prepare\]'"):
        GGUFFile(tiny.path)
