# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rewards of a run's last step, measured once more on the model that it exports."""

import torch
from helpers.probing import probes, torchtune_model
from helpers.runs import SIZES, Run, config
from omegaconf import DictConfig, OmegaConf
from torchtune.config import instantiate
from torchtune.modules.peft import set_trainable_params

from mos_tune import rewards
from mos_tune.data.load import load_data
from mos_tune.learning.probes import UpdateProbes
from mos_tune.sections import read_sections
from mos_tune.tokenizers import CharTokenizer


def measured_again(run: Run) -> torch.Tensor:
    """Give the raw rewards of a run whose last step ended with an update."""
    cfg = OmegaConf.load(run.directory.with_suffix(".yaml"))
    reward = instantiate(cfg.reward, list(SIZES))
    data = load_data(read_sections(cfg), CharTokenizer(max_seq_len=64), cfg.seed)
    update = run.events("update")[-1]["step"] // cfg.scorer.update_every
    chosen = UpdateProbes(data.train, data.held_out, reward, probes, cfg.seed).of_update(update)
    # A model that knows nothing of adapters, whatever was trained.
    builder = config(run.directory.parent)["model"]
    untouched = torchtune_model(builder, run.directory.parent / "base", "LLAMA3")
    trained = _trained(cfg, run, untouched)
    with rewards.measuring(untouched):
        reward.prepare(untouched, chosen)
    with rewards.measuring(trained):
        return reward.measure(trained, chosen)


def _trained(cfg: DictConfig, run: Run, untouched: torch.nn.Module) -> torch.nn.Module:
    export = run.directory / "epoch_0"
    if "lora" not in cfg.model._component_:
        return torchtune_model(cfg.model, export, "LLAMA3", "model-00001-of-00001.safetensors")
    # Not the merged model: gradients are those of the adapters.
    model = instantiate(cfg.model)
    adapters = torch.load(export / "adapter_model.pt")
    model.load_state_dict(untouched.state_dict() | adapters)
    set_trainable_params(model, adapters)
    return model
