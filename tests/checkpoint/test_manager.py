# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import pickle
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from helpers.ranks import on_ranks
from torch.distributed.fsdp import fully_shard

from mos_tune.checkpoint.data_only import DataOnlyReader
from mos_tune.checkpoint.folder import MANIFEST, damage
from mos_tune.checkpoint.manager import StepCheckpoints
from mos_tune.checkpoint.shards import SavedStep
from mos_tune.errors import UserError


def trained(steps, lr=0.1, seed=0, kind=torch.optim.AdamW):
    """A sharded model after some steps; its gradient does not depend on the number of ranks."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 3))
    fully_shard(model)
    optimizer = kind(model.parameters(), lr=lr)
    for _ in range(steps):
        step_on(model, optimizer)
    return model, optimizer


def step_on(model, optimizer):
    model(torch.linspace(-1, 1, 24).view(4, 6)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def full(model):
    return {name: value.full_tensor() for name, value in model.state_dict().items()}


def same(one, other, exactly=True):
    tolerance = {"rtol": 0, "atol": 0} if exactly else {}
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, **tolerance)


def save_steps(rank, world_size, folder, steps, keep_last=2):
    checkpoints = StepCheckpoints(Path(folder), keep_last)
    model, optimizer = trained(0)
    for step in range(1, steps + 1):
        step_on(model, optimizer)
        checkpoints.save(step, model, [optimizer], {"step": step, "value": torch.tensor(step)})
    checkpoints.wait()
    step_on(model, optimizer)
    return full(model)


def go_on(rank, world_size, folder, lr=0.1):
    checkpoints = StepCheckpoints(Path(folder), 2)
    saved = checkpoints.newest()
    model, optimizer = trained(0, lr=lr, seed=9)
    checkpoints.load(saved, model, [optimizer], {"lr"})
    assert all(group["lr"] == lr for group in optimizer.param_groups)
    step_on(model, optimizer)
    return saved.mixture, full(model)


def save_apart(rank, world_size, folder):
    """Save on ranks that do not share a folder, and give what was said of it."""
    checkpoints = StepCheckpoints(Path(folder) / str(rank) / "steps", 2)
    model, optimizer = trained(1)
    messages = []
    for attempt in (
        checkpoints.check_shared,
        lambda: checkpoints.save(1, model, [optimizer], {"step": 1}),
        checkpoints.wait,
    ):
        try:
            attempt()
        except UserError as error:
            messages.append(str(error))
    return messages


def timeouts(rank, world_size, folder):
    checkpoints = StepCheckpoints(Path(folder), 2, timedelta(seconds=41))
    return checkpoints._group._get_backend(torch.device("cpu")).options._timeout.seconds


def failure(rank, world_size, folder, method):
    try:
        getattr(StepCheckpoints(Path(folder), 2), method)()
    except UserError as error:
        return str(error)
    return "no error"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of three steps on two ranks, two of them kept."""
    directory = tmp_path_factory.mktemp("written")
    models = on_ranks(2, save_steps, directory / "ranks", str(directory / "steps"), 3)
    return directory / "steps", models[0]


@pytest.fixture
def steps(written, tmp_path):
    return Path(shutil.copytree(written[0], tmp_path / "steps"))


def test_every_rank_writes_its_part_and_the_manifest_names_all(steps):
    assert sorted(path.name for path in steps.iterdir()) == ["step_2", "step_3"]
    files = {path.name for path in (steps / "step_3").iterdir()}
    assert files == {MANIFEST, "state.pt", ".metadata", "__0_0.distcp", "__1_0.distcp"}
    manifest = json.loads((steps / "step_3" / MANIFEST).read_text())
    assert set(manifest["files"]) == files - {MANIFEST}
    assert manifest["step"] == 3 and manifest["world_size"] == 2
    assert {"torch", "mos_tune", "format"} < set(manifest)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_goes_on(written, steps, tmp_path, ranks):
    for mixture, model in on_ranks(ranks, go_on, tmp_path / "ranks", str(steps)):
        assert mixture == {"step": 3, "value": torch.tensor(3)}
        same(model, written[1], exactly=ranks == 2)


def test_others_may_read_them(steps):
    modes = {path.name: path.stat().st_mode & 0o777 for path in steps.rglob("*") if path.is_file()}
    reference = steps / "made_by_open"
    reference.open("w").close()
    assert set(modes.values()) == {reference.stat().st_mode & 0o777}


def test_ranks_without_a_common_folder_write_no_checkpoint(tmp_path):
    messages = on_ranks(2, save_apart, tmp_path / "ranks", str(tmp_path))
    (shared, complete), others = messages
    assert others[0] == shared and len(others) == 2
    assert shared.startswith("checkpoint: rank 1 does not see in its output_dir, ")
    assert f"{tmp_path}/1 on " in shared and f"{tmp_path}/0 on " in shared
    assert "step_1 could not be written: rank 0 does not see __1_0.distcp, which rank 1" in complete
    for rank in "01":
        assert not [path for path in (tmp_path / rank).rglob("*") if path.name == "step_1"]
        assert not list((tmp_path / rank).glob(".shared-*"))


def test_the_thread_that_writes_waits_as_long_as_asked_for(tmp_path):
    assert on_ranks(1, timeouts, tmp_path / "ranks", str(tmp_path / "steps")) == [41]


def _truncate(folder):
    with open(folder / "__1_0.distcp", "r+b") as file:
        file.truncate(100)


def _flip(folder):
    with open(folder / "__0_0.distcp", "r+b") as file:
        file.seek(700)
        byte = file.read(1)[0]
        file.seek(700)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_truncate, "__1_0.distcp has 100 bytes instead of"),
        (_flip, "__0_0.distcp has another checksum"),
        (lambda folder: (folder / "state.pt").unlink(), "state.pt is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1'), "manifest.json is damaged"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 7}'), "has format 7, this"),
    ],
)
def test_damage_is_found(steps, harm, message):
    assert damage(steps / "step_3") is None
    harm(steps / "step_3")
    assert message in damage(steps / "step_3")
    # Two ranks read half of the files each.
    assert any(message in (damage(steps / "step_3", rank, 2) or "") for rank in range(2))


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(steps, tmp_path):
    _flip(steps / "step_3")
    (steps / "step_4.partial").mkdir()
    results = on_ranks(2, go_on, tmp_path / "ranks", str(steps))
    assert [mixture["step"] for mixture, _ in results] == [2, 2]
    assert sorted(path.name for path in steps.iterdir()) == ["step_2", "step_3.damaged"]
    written = (tmp_path / "ranks" / "0.log").read_text()
    assert "step_3 is damaged: __0_0.distcp has another checksum" in written
    assert "step_2 before it is used" in written


def test_when_all_are_damaged_nothing_starts_from_the_beginning(steps, tmp_path):
    for step in steps.iterdir():
        (step / ".metadata").write_bytes(b"")
    for _ in range(2):  # nor at the second attempt
        (message,) = on_ranks(1, failure, tmp_path / "ranks", str(steps), "newest")
        assert "every checkpoint in" in message and "step_2: .metadata has 0 bytes" in message


def test_a_fresh_start_refuses_the_checkpoints_of_another_run(steps, tmp_path):
    (message,) = on_ranks(1, failure, tmp_path / "ranks", str(steps), "refuse_leftovers")
    assert "resume_from_checkpoint is False" in message and "up to step_3" in message
    (message,) = on_ranks(1, failure, tmp_path, str(tmp_path / "none"), "refuse_leftovers")
    assert message == "no error"


def _disk_full(rank, world_size, folder):
    import resource

    checkpoints = StepCheckpoints(Path(folder), 1)
    model, optimizer = trained(1)
    checkpoints.save(1, model, [optimizer], {"step": 1})
    checkpoints.wait()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if rank == 1:  # one rank's disk alone
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit))
    try:
        checkpoints.save(2, model, [optimizer], {"step": 2})
        checkpoints.wait()
    except UserError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return "no error"


def test_a_full_disk_is_reported_on_every_rank_and_harms_no_checkpoint(tmp_path):
    messages = on_ranks(2, _disk_full, tmp_path / "ranks", str(tmp_path / "steps"))
    assert messages[0] == messages[1]
    assert "step_2 could not be written" in messages[0] and "File too large" in messages[0]
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["step_1"]
    (result, _) = on_ranks(1, go_on, tmp_path / "again", str(tmp_path / "steps"))[0]
    assert result == {"step": 1}


def _other_optimizer(rank, world_size, folder):
    checkpoints = StepCheckpoints(Path(folder), 2)
    model, optimizer = trained(0, kind=torch.optim.SGD)
    try:
        checkpoints.load(checkpoints.newest(), model, [optimizer], set())
    except UserError as error:
        return str(error)


def _other_model(rank, world_size, folder):
    checkpoints = StepCheckpoints(Path(folder), 2)
    model = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 4))
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    try:
        checkpoints.load(checkpoints.newest(), model, [optimizer], set())
    except UserError as error:
        return str(error)


def test_another_optimizer_or_model_is_refused_by_name(steps, tmp_path):
    (message,) = on_ranks(1, _other_optimizer, tmp_path / "a", str(steps))
    assert message.startswith("optimizer is SGD") and "the checkpoint has AdamW" in message
    (message,) = on_ranks(1, _other_model, tmp_path / "b", str(steps))
    assert "step_3 does not fit this model or optimizer" in message and "1.weight" in message


class Malice:
    def __init__(self, target):
        self._target = target

    def __reduce__(self):
        return Path.touch, (Path(self._target),)


def test_no_code_in_a_checkpoint_is_run(steps, tmp_path):
    step, victim = steps / "step_3", tmp_path / "touched"
    (step / ".metadata").write_bytes(pickle.dumps(Malice(str(victim))))
    with pytest.raises(pickle.UnpicklingError, match="which is no data"):
        DataOnlyReader(step).read_metadata()
    (step / "state.pt").unlink()
    torch.save({"mixture": Malice(str(victim)), "optimizers": []}, step / "state.pt")
    with pytest.raises(pickle.UnpicklingError):
        SavedStep.read(step)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Malice(str(victim))))
    assert victim.exists()


def _load_bytes(rank, world_size, folder, victim):
    from mos_tune.checkpoint.data_only import DataOnlyPlanner

    # What torch writes for a value that is no tensor.
    dcp.save({"a": {"plain": 3}}, checkpoint_id=folder)
    plain = {"a": {"plain": 0}}
    dcp.load(plain, storage_reader=DataOnlyReader(folder), planner=DataOnlyPlanner())
    dcp.save({"a": {"plain": Malice(victim)}}, checkpoint_id=folder + "_bad")
    refused = False
    try:
        bad = {"a": {"plain": 0}}
        dcp.load(bad, storage_reader=DataOnlyReader(folder + "_bad"), planner=DataOnlyPlanner())
    except dcp.CheckpointException as error:
        refused = "weights_only" in str(error) or "Unsupported" in str(error)
    return plain["a"]["plain"], refused


def test_what_is_no_tensor_is_read_as_data_too(tmp_path):
    result = on_ranks(1, _load_bytes, tmp_path / "r", str(tmp_path / "x"), str(tmp_path / "t"))
    assert result == [(3, True)] and not (tmp_path / "t").exists()
