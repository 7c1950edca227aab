# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MT-bench: two-turn answers of a checkpoint, graded by a judge behind an HTTP endpoint."""
