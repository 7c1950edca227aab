# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's own recipes, unchanged but for running on a CPU; ``stock=NAME`` says which."""

import sys

import torch.distributed as dist

from mos_tune.training import launch, load_stock_recipe

CLASSES = {
    "full_finetune_distributed": "FullFinetuneRecipeDistributed",
    "full_finetune_single_device": "FullFinetuneRecipeSingleDevice",
    "lora_finetune_distributed": "LoRAFinetuneRecipeDistributed",
    "lora_finetune_single_device": "LoRAFinetuneRecipeSingleDevice",
}

if __name__ == "__main__":
    (name,) = (word.removeprefix("stock=") for word in sys.argv if word.startswith("stock="))
    if name == "lora_finetune_distributed":
        dist.init_process_group("gloo")  # as the stock file's entry point does
    launch(getattr(load_stock_recipe(f"{name}.py", CLASSES[name]), CLASSES[name]))
