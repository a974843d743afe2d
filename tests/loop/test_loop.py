# SPDX-License-Identifier: Apache-2.0
"""The generator: order of hooks, metrics one step late, early ends; durations in steps."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Epochs, Metrics, StepInfo, Steps, Stop, Tokens, interval, num_steps, train
from ssl_jax.types import UserError


@dataclasses.dataclass
class FakeBatch:
    rows: tuple[int, int]
    arrays: dict


def batches():
    n = 0
    while True:
        yield FakeBatch((4 * n, 4 * n + 4), {"x": jnp.float32(n)})
        n += 1


@jax.jit
def step(state, batch):
    return state + 1, {"loss": batch["x"] * 2}


class Watch:
    def __init__(self, wants=(), answers=None):
        self.wants, self.answers, self.seen = set(wants), answers or {}, []

    def needs_state(self, number):
        return number in self.wants

    def __call__(self, info: StepInfo):
        self.seen.append((info.step, info.rows, dict(info.metrics), info.state))
        return self.answers.get(info.step)


def run(*hooks, first=0, last=5):
    return list(train(step, jnp.int32(first), batches(), hooks, first=first, last=last))


def test_every_hook_sees_every_step_in_order_and_state_only_where_asked():
    one, two = Watch(wants=[3]), Watch()
    run(one, two)
    assert [s for s, *_ in one.seen] == [1, 2, 3, 4, 5] == [s for s, *_ in two.seen]
    assert [state is not None for *_, state in one.seen] == [False, False, True, False, True]
    assert [int(state) for *_, state in two.seen if state is not None] == [3, 5]
    assert [m["loss"] for _, _, m, _ in one.seen] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert one.seen[1][1] == (4, 8)


def test_metrics_of_a_hook_reach_the_hooks_behind_it():
    first, second = Watch(wants=[2], answers={2: Metrics({"heldout/loss": 1.5})}), Watch()
    run(first, second)
    assert second.seen[1][2]["heldout/loss"] == 1.5 and "heldout/loss" not in second.seen[0][2]


def test_a_stop_with_the_state_ends_there():
    infos = run(Watch(wants=[3], answers={3: Stop("enough", 75)}))
    assert [i.step for i in infos] == [1, 2, 3] and infos[-1].stop.status == 75 and int(infos[-1].state) == 3


def test_a_stop_seen_one_step_late_still_ends_with_a_state():
    save = Watch()
    infos = run(Watch(answers={2: Stop("diverged", 3)}), save)
    assert [i.step for i in infos] == [1, 2, 3]
    assert infos[-1].stop.status == 3 and int(infos[-1].state) == 3 and save.seen[-1][3] is not None


def test_goes_on_from_where_it_was():
    assert [i.step for i in run(Watch(), first=3)] == [4, 5]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(Steps(7), 7), (Tokens(1001), 11), (Tokens(1000), 10), (Epochs(2.0), 20), (Epochs(0.05), 1)],
)
def test_durations(duration, expected):
    assert num_steps(duration, batch_size=10, num_rows=100, num_tokens=1000) == expected


@pytest.mark.parametrize(
    ("every", "last", "expected"), [(7, 3, 7), (0.1, 1797, 180), (0.25, 10, 2), (0.1, 3, 1)]
)
def test_every_so_often_is_a_number_of_steps_or_a_fraction_of_the_run(every, last, expected):
    assert interval(every, last) == expected


@pytest.mark.parametrize("every", [0, -1, 0.0, 1.0, 2.5, float("nan")])
def test_an_interval_that_is_neither_is_refused(every):
    with pytest.raises(UserError, match=r"evals\.every=.* neither a number of steps"):
        Evals(every=every)
    with pytest.raises(UserError, match=r"checkpoint\.every=.* neither a number of steps"):
        Checkpoint(every=every)


def test_no_step_at_all_is_refused():
    with pytest.raises(UserError, match="at least one"):
        num_steps(Steps(0), 8, 100, 1000)
