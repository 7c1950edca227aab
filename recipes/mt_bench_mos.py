# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A checkpoint's answers to MT-bench, on one or several devices.

``mos-tune run --nproc_per_node 8 mt_bench_mos --config CONFIG checkpoint_dir=DIR``

The judge grades them afterwards: ``mos-tune judge --help``
"""

from mos_tune.training import end_without, launch, load_stock_recipe

try:
    from mos_tune.evaluation.mt_bench.recipe import MTBenchRecipe
    from mos_tune.evaluation.recipe import SEAM
except ModuleNotFoundError as error:
    end_without(error)

_stock = load_stock_recipe("eleuther_eval.py", "EleutherEvalRecipe", SEAM)


class MTBenchMoSRecipe(MTBenchRecipe, _stock.EleutherEvalRecipe):
    """torchtune's ``eleuther_eval`` with MT-bench's questions in place of lm-eval's tasks."""

    stock = _stock


if __name__ == "__main__":
    launch(MTBenchMoSRecipe, work="evaluate")
