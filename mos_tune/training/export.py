# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's epoch-end export, with an error that names what could not be written."""

from typing import Any

import torch
from safetensors import SafetensorError

from mos_tune.errors import UserError
from mos_tune.training.checkpoint_loading import reason_of


def explain_failed_exports(client: Any, output_dir: str) -> None:
    """Make ``client.save_checkpoint`` raise a UserError if a file cannot be written.

    It is rank 0 that says it, which alone writes.

    Args:
        client (Any): the recipe's ``CheckpointClient``.
        output_dir (str): where it exports to, for the message.
    """
    stock = client.save_checkpoint

    def save_checkpoint(*, epoch: int, **state: Any) -> None:
        try:
            stock(epoch=epoch, **state)
        except (torch.distributed.DistError, torch.OutOfMemoryError):
            raise
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"epoch_{epoch} could not be exported to {output_dir}: {reason_of(error)}; the "
                "checkpoints before it stay"
            ) from error

    client.save_checkpoint = save_checkpoint
