# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Instance selection: the examples of a training config that are hardest to follow (IFD), or any.

``mos-tune run --nproc_per_node 8 select_examples --config CONFIG selection.fraction=0.1``
"""

from mos_tune.selection.recipe import SelectionRecipe
from mos_tune.training import launch

if __name__ == "__main__":
    launch(SelectionRecipe, work="select")
