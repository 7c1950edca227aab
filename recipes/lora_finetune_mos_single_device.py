# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""LoRA and QLoRA finetuning on a learned mixture of datasets, on one device without FSDP.

``mos-tune run --nproc_per_node 1 lora_finetune_mos_single_device --config CONFIG``
"""

from mos_tune.training import MixtureRecipe, launch, load_stock_recipe

_stock = load_stock_recipe("lora_finetune_single_device.py", "LoRAFinetuneRecipeSingleDevice")


class LoRAFinetuneMoSRecipeSingleDevice(MixtureRecipe, _stock.LoRAFinetuneRecipeSingleDevice):
    """torchtune's ``lora_finetune_single_device`` with a mixture; its ``train()`` is untouched."""

    stock = _stock
    single_device = True


if __name__ == "__main__":
    launch(LoRAFinetuneMoSRecipeSingleDevice)
