# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from mos_tune.base_checkpoint import fingerprint


def test_a_fingerprint_is_of_the_content(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    content = bytearray(range(256)) * 20_000
    first.write_bytes(content)
    second.write_bytes(b"")
    before = fingerprint([first, second])
    assert fingerprint([second, first]) == before
    content[len(content) // 2] += 1
    content[-1] -= 1
    first.write_bytes(content)
    assert fingerprint([first, second]) != before
