# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Learn a mixture of three datasets with Hugging Face's Trainer, which may be stopped and resumed.

    python examples/hf_trainer.py --max_steps 200 --save_steps 50
    accelerate launch --num_processes 2 examples/hf_trainer.py --per_device_train_batch_size 4

Options are those of TrainingArguments. The same command resumes from the newest checkpoint in
--output_dir, also on another number of processes if batch size times processes stays the same.
The folder gets mixture.jsonl, examples.jsonl and mixture.png too; each dataset's losses go where
Trainer reports. Several processes without a GPU: accelerate launch --multi_gpu, and --use_cpu.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tiny import PAD, VOCAB_SIZE, datasets
from transformers import (
    HfArgumentParser,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from mos_tune.learning import DatasetLosses, MixtureController, RunPlan
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import MixtureLoader, MixtureSampler, pad_right
from mos_tune.rewards import DifficultyReward
from mos_tune.scorers import MLPScorer


class MixtureTrainer(Trainer):
    """Trains on the batches of ``loader`` as they come, and hands the logits to ``losses``."""

    loader: MixtureLoader
    losses: DatasetLosses

    def get_train_dataloader(self) -> Any:
        return self.loader  # not through accelerate, which would deal its batches out once more

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            self.losses.add(outputs.logits[:, :-1], inputs["labels"][:, 1:])
        return (loss, outputs) if return_outputs else loss


class MixtureCallback(TrainerCallback):
    """Ends the loader's steps, before Trainer saves, and saves the mixture in its checkpoints."""

    def __init__(self, loader: MixtureLoader) -> None:
        self.loader = loader

    def on_step_end(self, args, state, control, **kwargs):
        should_log = control.should_log
        self.loader.finish()  # Trainer asks for no batch after the last step, which would end it
        control.should_log = should_log  # the mixture's own logs had done with it

    def on_save(self, args, state, control, **kwargs):
        if args.should_save:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            torch.save(self.loader.state_dict(), folder / "mixture.tmp")
            os.replace(folder / "mixture.tmp", folder / "mixture.pt")


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    batch = pad_right(rows, pad_id=PAD)
    return {"input_ids": batch["tokens"], "labels": batch["labels"]}


def main(args: TrainingArguments) -> None:
    args.ignore_data_skip = True  # the loader itself resumes at the right step
    torch.manual_seed(args.seed)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB_SIZE, **sizes, **heads))
    trainer = MixtureTrainer(model, args)

    train, held_out = datasets()
    batch_size = args.per_device_train_batch_size
    accumulation_steps = args.gradient_accumulation_steps
    sampler = MixtureSampler(
        {name: len(part) for name, part in train.items()},
        global_batch_size=batch_size * accumulation_steps * args.world_size,
        seed=args.seed,
    )
    plan = RunPlan(
        seed=args.seed,
        sequences=train,
        examples=train,
        held_out=held_out,
        sampler=sampler,
        scorer=MLPScorer(sampler.prior, update_every=10),
        reward=DifficultyReward(sampler.names, batch_size=16),
        total_steps=args.max_steps,
    )
    trainer.losses = DatasetLosses(len(sampler.names), device=args.device)
    controller = MixtureController(
        model,
        plan,
        losses=trainer.losses,
        record=MixtureRecord(
            sampler.names,
            Path(args.output_dir),
            lambda metrics, step: trainer.log(metrics),
            log_examples=True,
        ),
        collate=partial(pad_right, pad_id=PAD),
        batch_size=16,
        device=args.device,
        validate_every=10,
        log_every=int(args.logging_steps),
    )
    # The file is a checkpoint's last: without it, Trainer was stopped while it saved.
    saved = max(Path(args.output_dir).glob("checkpoint-*/mixture.pt"), key=step_of, default=None)
    if saved is None:
        controller.start()
    else:
        controller.resume(torch.load(saved), model_is_untouched=True)  # Trainer loads it later
    trainer.loader = MixtureLoader(
        list(train.values()),
        sampler,
        controller,
        collate=collate,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        total_steps=args.max_steps,
        step=controller.step,
    )
    trainer.add_callback(MixtureCallback(trainer.loader))
    trainer.train(resume_from_checkpoint=saved and str(saved.parent))
    controller.finish()


def step_of(saved: Path) -> int:
    return int(saved.parent.name.removeprefix("checkpoint-"))


if __name__ == "__main__":
    parser = HfArgumentParser(TrainingArguments)
    parser.set_defaults(output_dir="output/hf_trainer", max_steps=200, save_steps=50)
    parser.set_defaults(learning_rate=1e-3, logging_steps=10)
    main(*parser.parse_args_into_dataclasses())
