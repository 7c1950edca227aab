# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""LoRA and QLoRA finetuning on a learned mixture of datasets, on one or several devices.

``mos-tune run --nproc_per_node 8 lora_finetune_mos_distributed --config CONFIG``
"""

from mos_tune.training import MixtureRecipe, launch, load_stock_recipe

_stock = load_stock_recipe("lora_finetune_distributed.py", "LoRAFinetuneRecipeDistributed")


class LoRAFinetuneMoSRecipeDistributed(MixtureRecipe, _stock.LoRAFinetuneRecipeDistributed):
    """torchtune's ``lora_finetune_distributed`` with a mixture; its ``train()`` is untouched."""

    stock = _stock


if __name__ == "__main__":
    launch(LoRAFinetuneMoSRecipeDistributed)
