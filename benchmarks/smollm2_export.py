# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Check the checkpoint that the SmolLM2 run exported: the logits and answer of docs/running.md.

    python benchmarks/smollm2_export.py [output/smollm2_135M_mos/epoch_0]

Loads the folder in transformers and in torchtune, compares their logits on held-out examples of
every dataset, and lets transformers answer two questions.
"""

import json
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torchtune import config, training
from transformers import AutoModelForCausalLM, AutoTokenizer

EXAMPLES_PER_DATASET = 2
QUESTIONS = ["What is 7 + 5?", "What is the capital of France?"]


def main() -> None:
    cfg = OmegaConf.load("configs/smollm2_135M_mos.yaml")
    export = Path(sys.argv[1] if len(sys.argv) > 1 else f"{cfg.output_dir}/epoch_0")
    hf_model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    hf_tokenizer = AutoTokenizer.from_pretrained(export)

    files = [file.name for file in export.glob("model-*.safetensors")]
    checkpointer = training.FullModelHFCheckpointer(
        str(export), files, cfg.checkpointer.model_type, output_dir=f"{export}_checked"
    )
    model = config.instantiate(cfg.model)
    model.load_state_dict(checkpointer.load_checkpoint()[training.MODEL_KEY])
    model.eval()

    largest, agree, count = 0.0, 0, 0
    for name in cfg.dataset:
        rows = Path(f"{cfg.data_dir}/{name}/heldout.jsonl").read_text(encoding="utf-8").splitlines()
        for row in map(json.loads, rows[:EXAMPLES_PER_DATASET]):
            conversation = [
                {"role": "user", "content": row["input"]},
                {"role": "assistant", "content": row["output"]},
            ]
            ids = hf_tokenizer.apply_chat_template(conversation, return_tensors="pt")[:, :512]
            with torch.no_grad():
                theirs, ours = hf_model(ids).logits, model(ids)
            largest = max(largest, float((theirs - ours).abs().max()))
            agree += int((theirs.argmax(-1) == ours.argmax(-1)).sum())
            count += ids.numel()
    print(f"largest difference of the logits: {largest:.1e}; same argmax at {agree} of {count}")

    for question in QUESTIONS:
        ids = hf_tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt"
        )
        answer = hf_model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=60, do_sample=False
        )
        text = hf_tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True)
        print(f"{question} -> {text}")


if __name__ == "__main__":
    main()
