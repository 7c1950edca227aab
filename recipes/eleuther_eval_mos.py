# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Evaluation of a checkpoint with lm-eval, on one or several devices.

``mos-tune run --nproc_per_node 8 eleuther_eval_mos --config CONFIG checkpoint_dir=DIR``
"""

from mos_tune.training import end_without, launch, load_stock_recipe

try:
    from mos_tune.evaluation.recipe import SEAM, EvaluationRecipe
except ModuleNotFoundError as error:
    end_without(error)

_stock = load_stock_recipe("eleuther_eval.py", "EleutherEvalRecipe", SEAM)


class EleutherEvalMoSRecipe(EvaluationRecipe, _stock.EleutherEvalRecipe):
    """torchtune's ``eleuther_eval`` on any number of ranks, with ``results.json``."""

    stock = _stock


if __name__ == "__main__":
    launch(EleutherEvalMoSRecipe, work="evaluate")
