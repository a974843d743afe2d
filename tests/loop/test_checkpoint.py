# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: sealed, verified, set aside when damaged; kept and dropped by rule."""

import json
import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.loop import seal
from ssl_jax.loop.checkpoint import Checkpoint, Checkpointer, read_leaves
from ssl_jax.loop.kept import saved_steps
from ssl_jax.loop.state import State, flat, unflat
from ssl_jax.types import Failure, UserError


def state(step: int) -> State:
    x = jnp.arange(4096, dtype=jnp.float32).reshape(64, 64) + step
    return State(
        step=jnp.int32(step),
        params={"a": x, "b": {"c": x[0]}},
        opt=(jnp.int32(step), {"m": x * 2}),
        extra=(),
        guards=({"skipped": jnp.int32(0)},),
        ema=(),
    )


def shardings(like: State) -> State:
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda _: one, like)


LIKE = jax.eval_shape(lambda: state(0))


def open_(folder: Path, **config) -> Checkpointer:
    return Checkpointer(
        folder / "checkpoints", Checkpoint(**{"every": 1, "minutes": None, "keep_last": 9, **config})
    )


def saved(folder: Path, steps=(1, 2, 3), **config) -> Path:
    checkpointer = open_(folder, **config)
    for step in steps:
        checkpointer.save(step, state(step), {"next_row": 8 * step, "best": float(-step % 7)})
    checkpointer.close()
    return folder / "checkpoints"


def restore(folder: Path, step=None):
    checkpointer = open_(folder)
    try:
        return checkpointer.restore(LIKE, shardings(LIKE), step)
    finally:
        checkpointer.close()


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    saved(tmp_path)
    back = restore(tmp_path)
    assert (back.step, back.verified, back.meta["next_row"], back.skipped) == (3, True, 24, ())
    jax.tree.map(np.testing.assert_array_equal, back.state, state(3))


def test_no_checkpoint_is_none(tmp_path):
    assert restore(tmp_path) is None


def test_flat_names_are_readable_and_invert():
    names = flat(state(1))
    assert {"step", "params.a", "params.b.c", "opt.0", "opt.1.m", "guards.0.skipped"} == set(names)
    jax.tree.map(np.testing.assert_array_equal, unflat(names, LIKE), state(1))


@pytest.mark.parametrize("seed", range(6))
def test_any_flipped_bit_is_found_and_the_older_checkpoint_taken(tmp_path, seed):
    folder = saved(tmp_path)
    rng = random.Random(seed)
    victim = rng.choice([p for p in seal.files_of(folder / "3") if p.stat().st_size])
    data = bytearray(victim.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    victim.write_bytes(data)
    back = restore(tmp_path)
    assert back.step == 2 and len(back.skipped) == 1
    assert victim.relative_to(folder / "3").as_posix() in back.skipped[0]
    assert (folder / "3.corrupt").is_dir()
    jax.tree.map(np.testing.assert_array_equal, back.state, state(2))


def test_a_missing_file_and_a_truncated_one(tmp_path):
    folder = saved(tmp_path)
    seal.files_of(folder / "3" / "state")[0].unlink()
    big = max(seal.files_of(folder / "2"), key=lambda p: p.stat().st_size)
    big.write_bytes(big.read_bytes()[:-1])
    back = restore(tmp_path)
    assert back.step == 1 and len(back.skipped) == 2


def test_all_damaged_is_a_failure_never_a_fresh_start(tmp_path):
    folder = saved(tmp_path, steps=(1, 2))
    for step in (1, 2):
        big = max(seal.files_of(folder / str(step)), key=lambda p: p.stat().st_size)
        big.write_bytes(b"\0" * big.stat().st_size)
    with pytest.raises(Failure, match="every checkpoint"):
        restore(tmp_path)


def test_killed_between_commit_and_seal_is_usable_and_says_so(tmp_path):
    folder = saved(tmp_path)
    (folder / "_seals" / "3.json").unlink()
    back = restore(tmp_path)
    assert back.step == 3 and not back.verified


def test_a_step_that_is_not_there_names_those_that_are(tmp_path):
    saved(tmp_path)
    with pytest.raises(UserError, match="no checkpoint of step 7; it has 1, 2, 3"):
        restore(tmp_path, step=7)


def test_another_model_is_refused_not_set_aside(tmp_path):
    folder = saved(tmp_path, steps=(1,))
    other = State(**{**vars(LIKE), "params": {"a": jax.ShapeDtypeStruct((2, 2), jnp.float32)}})
    checkpointer = open_(tmp_path)
    with pytest.raises(UserError, match="doesn't fit"):
        checkpointer.restore(other, shardings(other))
    checkpointer.close()
    assert (folder / "1").is_dir()


def test_kept_are_the_last_the_best_and_every_nth(tmp_path):
    folder = saved(tmp_path, steps=range(1, 9), keep_last=2, keep_best=1, keep_every=3)
    # best is -step % 7, lower is better: step 7
    assert saved_steps(folder) == [3, 6, 7, 8]
    assert sorted(int(p.stem) for p in (folder / "_seals").iterdir()) == [3, 6, 7, 8]
    assert not (folder / "_trash").exists()


def test_reading_some_leaves_needs_no_structure_and_checks_the_seal(tmp_path):
    folder = saved(tmp_path, steps=(2,))
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaves, meta = read_leaves(folder, 2, lambda name: name.startswith("params."), {}, one)
    assert set(leaves) == {"params.a", "params.b.c"} and meta["next_row"] == 16
    np.testing.assert_array_equal(leaves["params.a"], state(2).params["a"])
    manifest = json.loads((folder / "_seals" / "2.json").read_text())
    manifest["files"][next(iter(manifest["files"]))] = "0" * 64
    (folder / "_seals" / "2.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="damaged"):
        read_leaves(folder, 2, lambda name: True, {}, one)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    checkpointer = open_(tmp_path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointer._manager, "save", full)
    with pytest.raises(Failure, match="is full"):
        checkpointer.save(1, state(1), {"next_row": 8})
    checkpointer.close()


def test_full_disk_while_sealing_is_one_line_and_leaves_no_seal(tmp_path, monkeypatch):
    checkpointer = open_(tmp_path)

    def full(*args):
        raise OSError(28, "No space left on device")

    checkpointer.save(1, state(1), {"next_row": 8})
    monkeypatch.setattr(seal, "seal", full)
    with pytest.raises(Failure, match="is full"):
        checkpointer.poll(wait=True)
    assert not (tmp_path / "checkpoints" / "_seals" / "1.json").exists()
