# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
import torch
from helpers.evaluation import write_tokenizer
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2
from omegaconf import OmegaConf
from safetensors import safe_open
from torchtune import config, training
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mos_tune.training.export import INDEX, tidy_index


def files_of(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(
    ("make", "model_type"),
    [(tiny_llama, "LLAMA3"), (tiny_gemma, "GEMMA"), (tiny_qwen2, "QWEN2")],
)
def test_an_export_is_all_that_other_programs_need(make, model_type, sharded, tmp_path):
    base = tmp_path / "base"
    hf_model, builder = make(base)
    if sharded:
        (base / "model.safetensors").unlink()
        hf_model.save_pretrained(base, max_shard_size="60KB")
        assert len(files_of(base)) > 1
    write_tokenizer(base)
    GenerationConfig(eos_token_id=[2, 4]).save_pretrained(base)
    checkpointer = training.FullModelHFCheckpointer(
        checkpoint_dir=str(base),
        checkpoint_files=files_of(base),
        model_type=model_type,
        output_dir=str(tmp_path / "run"),
    )
    model = config.instantiate(OmegaConf.create(builder)).eval()
    model.load_state_dict(checkpointer.load_checkpoint()[training.MODEL_KEY])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    checkpointer.save_checkpoint({training.MODEL_KEY: model.state_dict()}, epoch=0)
    export = tmp_path / "run" / "epoch_0"
    tidy_index(export)

    tensors = {}
    for name in files_of(export):
        with safe_open(export / name, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            tensors.update(dict.fromkeys(file.keys(), name))
    assert json.loads((export / INDEX).read_text())["weight_map"] == tensors

    loaded, found = AutoModelForCausalLM.from_pretrained(export, output_loading_info=True)
    assert not any(found.values())
    assert loaded.generation_config.eos_token_id == [2, 4]
    tokenizer = AutoTokenizer.from_pretrained(export)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    tokens = torch.tensor([tokenizer.encode("A question, an answer")])
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.eval()(tokens).logits, model(tokens), atol=1e-4, rtol=1e-4
        )


def test_a_folder_without_index_is_left_alone(tmp_path):
    tidy_index(tmp_path)
    assert not list(tmp_path.iterdir())
