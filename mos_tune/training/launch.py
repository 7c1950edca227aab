# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A recipe's entry point: an error appears once, and a user's error as one line."""

import errno
import os
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

from omegaconf.errors import OmegaConfBaseException
from torchtune import config

from mos_tune import endings
from mos_tune.errors import UserError, not_installed
from mos_tune.overrides import read_config
from mos_tune.training import lost_ranks
from mos_tune.training.orphans import end_with_launcher
from mos_tune.training.preemption import set_all

SECONDS_FOR_RANK_ZERO = 15.0
"""How long another rank waits for rank 0 to report the same error before it reports its own.

A machine's first rank waits once, its others twice: an error that rank 0 does not share is said
once a machine.
"""

_INTERRUPTED = 128 + signal.SIGINT

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def end_without(error: ModuleNotFoundError) -> NoReturn:
    """End a recipe that cannot be imported for a package that is not installed, in one line.

    Args:
        error (ModuleNotFoundError): what the import raised.
    """
    text = str(not_installed(error))
    endings.leave(1, text)
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"\nmos-tune stopped: {text}\n")
    sys.exit(1)


def launch(recipe: type[Any], work: str = "train") -> None:
    """Run a recipe as torchtune's own are run, and end with status 1 on an error.

    Every rank usually meets the same error. Rank 0 reports it at once; the launcher then ends the
    others, which have been waiting, unless the error was theirs alone. An error in reading the
    config and command line is a user's error, whatever its type. A rank that another one has left
    alone says which. However it ends, ``mos-tune run`` is told.

    Args:
        recipe (type[Any]): made with ``cfg``, then ``setup(cfg)``, the work and ``cleanup()``.
        work (str): the method that does the work. Default ``"train"``.
    """
    rank = int(os.environ.get("RANK", "0"))
    config_is_read = False
    run: Any = None

    end_with_launcher()
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a user's own components are
    endings.leave(None)
    try:
        cfg = read_config(sys.argv[1:])
        if rank == 0:
            config.log_config(recipe_name=recipe.__name__, cfg=cfg)
        config_is_read = True
        run = recipe(cfg=cfg)
        run.setup(cfg=cfg)
        getattr(run, work)()
        run.cleanup()
        sys.exit()
    except SystemExit as end:  # as --help ends, and a recipe that was asked to stop
        # Python's exit puts back the default action, by which a late signal would kill.
        set_all(signal.SIG_IGN)
        endings.leave(end.code if isinstance(end.code, int) else int(end.code is not None))
        raise
    except KeyboardInterrupt:
        endings.leave(_INTERRUPTED)
        sys.exit(_INTERRUPTED)
    except Exception as error:  # the end of the process: nothing is swallowed, only said once
        # Nothing can be saved any more, and the launcher may end this rank while it waits.
        set_all(signal.SIG_DFL)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            error = UserError(f"the disk is full ({error}); the checkpoints that are complete stay")
        is_users = not config_is_read or isinstance(error, (UserError, OmegaConfBaseException))
        lost_contact = not is_users and lost_ranks.is_lost_contact(error)
        lost_ranks.answer(rank, lost_contact)
        if lost_contact and getattr(run, "was_asked_to_stop", False):
            # The launcher is ending all ranks, and says which was the first.
            endings.leave(1, "another rank has stopped")
            sys.exit(f"mos-tune: rank {rank} stops, too")
        others_first = (rank > 0) + (os.environ.get("LOCAL_RANK", "0") != "0")
        time.sleep(others_first * SECONDS_FOR_RANK_ZERO)
        text: str | None = str(error)
        if not is_users:
            text = lost_ranks.what_happened(error) if lost_contact else None
        if text is not None:
            # In one write: print's line break is another, and other ranks write here, too.
            text = " ".join(text.split())
            endings.leave(1, text)
            sys.stderr.write(f"\nmos-tune stopped: {text}\n")
        else:
            endings.leave(1)
            print(f"\nmos-tune stopped on rank {rank}:", file=sys.stderr)
            traceback.print_exception(error)
        sys.exit(1)
