# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every Python that a test starts imports this tree and its helpers, whichever is installed."""

import os
from pathlib import Path

_TESTS = Path(__file__).parent
_INHERITED = filter(None, [os.environ.get("PYTHONPATH")])
os.environ["PYTHONPATH"] = os.pathsep.join([str(_TESTS.parent), str(_TESTS), *_INHERITED])
