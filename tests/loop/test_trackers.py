# SPDX-License-Identifier: Apache-2.0
"""metrics.jsonl: no duplicate, no orphan, no torn line; copies that fail stop nothing."""

import json
import struct

import pytest

from ssl_jax.loop.trackers import Copies, JsonLines, Track, cut_after, read_lines
from ssl_jax.types import UserError


def test_floats_keep_all_bits(tmp_path):
    value = struct.unpack("<f", struct.pack("<I", 0x3DCCCCCD))[0]
    log = JsonLines(tmp_path / "m.jsonl")
    log.write(1, {"loss": value, "tiny": 1.1754943508222875e-38, "rows": [0, 8]})
    log.close()
    line = json.loads((tmp_path / "m.jsonl").read_text())
    assert line == {"step": 1, "loss": value, "tiny": 1.1754943508222875e-38, "rows": [0, 8]}


def test_what_is_not_finite_stays_valid_json(tmp_path):
    log = JsonLines(tmp_path / "m.jsonl")
    log.write(1, {"loss": float("nan"), "norm": float("inf")})
    log.close()
    text = (tmp_path / "m.jsonl").read_text()
    assert json.loads(text, parse_constant=lambda _: pytest.fail("no JSON")) == {
        "step": 1,
        "loss": "nan",
        "norm": "inf",
    }


def test_resuming_drops_later_steps_and_a_torn_line(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = [json.dumps({"step": s, "loss": s / 7}) for s in (0, 10, 20, 30)]
    path.write_text("\n".join(lines) + '\n{"step": 40, "lo')
    assert cut_after(path, 20) == 1
    assert path.read_text() == "\n".join(lines[:3]) + "\n"
    log = JsonLines(path)
    log.write(30, {"loss": 1.0})
    log.close()
    assert [line["step"] for line in read_lines(path)] == [0, 10, 20, 30]


def test_a_copy_that_fails_is_left_out_and_said_once(tmp_path, monkeypatch):
    from ssl_jax.loop import trackers

    def broken(folder):
        def write(step, values):
            raise OSError("disk on fire")

        return write, lambda: None

    monkeypatch.setattr(trackers, "tensorboard", broken)
    said = []
    copies = Copies(Track(tensorboard=True), tmp_path, "run", said.append)
    copies.write(1, {"loss": 1.0})
    copies.write(2, {"loss": 1.0})
    copies.close()
    assert len(said) == 1 and "tensorboard" in said[0] and "disk on fire" in said[0]


def test_a_missing_extra_names_the_command(tmp_path, monkeypatch):
    from ssl_jax.loop import trackers

    def missing(*_):
        raise ImportError("no wandb")

    monkeypatch.setattr(trackers, "wandb", missing)
    with pytest.raises(UserError, match=r"pip install 'ssl_jax\[wandb\]'"):
        Copies(Track(wandb="project"), tmp_path, "run", print)


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    copies = Copies(Track(tensorboard=True), tmp_path, "run", pytest.fail)
    copies.write(1, {"loss": 1.0, "rows": [0, 8], "name": "x"})
    copies.close()
    assert any((tmp_path / "tensorboard").iterdir())
