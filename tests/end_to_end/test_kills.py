# SPDX-License-Identifier: Apache-2.0
"""Ten kills, some inside saves and seals, and ten resumes that nobody can tell from one run."""

import random
import time

import pytest

from tests.end_to_end.runs import assert_same_run, kill, last_step, wait_for

STEPS = "loop.num_steps=200"
KILLS = 10


def saving(workdir):
    """Whether a checkpoint is being written: its folder still has orbax's temporary name."""
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def sealing(workdir):
    """Whether a checkpoint is committed and its seal isn't there yet."""
    folder = workdir / "checkpoints"
    steps = [p.parent.name for p in folder.glob("[0-9]*/commit_success.txt")]
    return any(not (folder / "_seals" / f"{step}.json").exists() for step in steps)


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_no_trace(place, tmp_path):
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    place.done(whole, "--set", STEPS)

    rng = random.Random(1)
    hit = {"save": 0, "seal": 0, "other": 0}
    for number in range(KILLS):
        process = place.pretrain(workdir, "--set", STEPS)
        if number == 3:  # on its way to the first step
            time.sleep(rng.uniform(0.5, 2.0))
        else:
            # Far enough from the last kill to get on, far enough from the end for those to come.
            target = 9 + 17 * number + rng.randrange(8)
            wait_for(process, lambda target=target: last_step(workdir) >= target)
            if number % 3 != 2:
                condition = (saving, sealing)[number % 3]
                wait_for(process, lambda condition=condition: condition(workdir))
            else:
                time.sleep(rng.uniform(0.0, 0.02))
        kill(process)
        hit["save" if saving(workdir) else "seal" if sealing(workdir) else "other"] += 1
        assert last_step(workdir) < 200
    assert hit["save"] >= 2 and hit["seal"] >= 1, hit

    out, _ = place.done(workdir, "--set", STEPS)
    assert "resuming" in out
    assert_same_run(workdir, whole)
