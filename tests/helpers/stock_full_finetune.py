# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's own ``full_finetune_distributed``, unchanged but for running on a CPU."""

from mos_tune.training import launch, load_stock_recipe

if __name__ == "__main__":
    stock = load_stock_recipe("full_finetune_distributed.py", "FullFinetuneRecipeDistributed")
    launch(stock.FullFinetuneRecipeDistributed)
