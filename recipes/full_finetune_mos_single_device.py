# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Full finetuning on a learned mixture of datasets, on one device and without FSDP.

``mos-tune run --nproc_per_node 1 full_finetune_mos_single_device --config CONFIG``
"""

from mos_tune.training import MixtureRecipe, launch, load_stock_recipe

_stock = load_stock_recipe("full_finetune_single_device.py", "FullFinetuneRecipeSingleDevice")


class FullFinetuneMoSRecipeSingleDevice(MixtureRecipe, _stock.FullFinetuneRecipeSingleDevice):
    """torchtune's ``full_finetune_single_device`` with a mixture; its ``train()`` is untouched."""

    stock = _stock
    single_device = True


if __name__ == "__main__":
    launch(FullFinetuneMoSRecipeSingleDevice)
