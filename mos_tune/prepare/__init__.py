# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Commands that fetch real models and datasets and bring them into the form of the configs.

Run ``mos-tune prepare --help``.
"""
