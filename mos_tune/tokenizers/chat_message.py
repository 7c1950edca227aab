# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A message with what torchtune's own has no place for."""

from collections.abc import Mapping
from typing import Any

from torchtune.data import Message


class ChatMessage(Message):
    """A message that may call tools.

    Args:
        role (str): any that a chat template knows, such as "developer" and "tool".
        content (str): the text.
        masked (bool): whether it is not trained on.
        more (Mapping[str, Any] | None): what else the chat template is given, in the form that
            ``transformers`` documents: ``tool_calls``, ``tool_call_id``, ``name``. Default None.
    """

    def __init__(
        self, role: str, content: str, *, masked: bool, more: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(role=role, content=content, masked=masked)
        self.more = dict(more or {})
