# SPDX-License-Identifier: Apache-2.0
"""Schedules against hand-written formulas; which of them permit a longer run."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax import optim
from ssl_jax.types import UserError

N, W = 1000, 100


def rates(schedule, num_steps=N, peak=2e-3):
    lr = optim.schedule(optim.Optim(peak_lr=peak, schedule=schedule), num_steps)
    return np.asarray(jax.jit(lr)(jnp.arange(num_steps + 1, dtype=jnp.int32)))


FORMULAS = {
    "linear": (optim.Linear(warmup=W), lambda s: (N - s) / (N - W)),
    "linear to a tenth": (optim.Linear(warmup=W, final=0.1), lambda s: 0.1 + 0.9 * (N - s) / (N - W)),
    "as in BERT": (optim.Linear(warmup=W, decay_from_start=True), lambda s: 1 - s / N),
    "NVIDIA's LAMB": (
        optim.Polynomial(warmup=W, power=0.5, decay_from_start=True),
        lambda s: math.sqrt(1 - s / N),
    ),
    "square": (optim.Polynomial(warmup=W, power=2.0), lambda s: ((N - s) / (N - W)) ** 2),
    "cosine": (
        optim.Cosine(warmup=W, final=0.1),
        lambda s: 0.1 + 0.45 * (1 + math.cos(math.pi * (s - W) / (N - W))),
    ),
    "inverse sqrt": (optim.InverseSqrt(warmup=W), lambda s: math.sqrt(W / s)),
    "constant": (optim.Constant(warmup=W), lambda s: 1.0),
    "1-sqrt": (
        optim.WarmupStableDecay(warmup=W, decay=200),
        lambda s: 1.0 if s < 800 else 1 - math.sqrt((s - 800) / 200),
    ),
    "trapezoid": (
        optim.WarmupStableDecay(warmup=0.1, decay=0.2, shape=optim.DecayShape.LINEAR, final=0.01),
        lambda s: 1.0 if s < 800 else 0.01 + 0.99 * (1000 - s) / 200,
    ),
    "cosine cooldown": (
        optim.WarmupStableDecay(warmup=0.1, decay=0.2, shape=optim.DecayShape.COSINE),
        lambda s: 1.0 if s < 800 else 0.5 * (1 + math.cos(math.pi * (s - 800) / 200)),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    schedule, formula = FORMULAS[name]
    expected = [2e-3 * (s / W if s < W else formula(s)) for s in range(N + 1)]
    found = rates(schedule)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=2e-9)


def test_a_step_alone_gives_the_same_rate_as_in_an_array():
    lr = optim.schedule(optim.Optim(peak_lr=1e-3, schedule=optim.Cosine(warmup=W)), N)
    every = rates(optim.Cosine(warmup=W), peak=1e-3)
    for s in (0, 1, W - 1, W, 777, N - 1):
        np.testing.assert_allclose((jax.jit(lr)(jnp.int32(s)), lr(s)), every[s], rtol=1e-6)


def test_warmup_longer_than_the_run_is_legal_and_finite():
    found = rates(optim.Linear(warmup=10_000), num_steps=200, peak=1.0)
    np.testing.assert_allclose(found, np.arange(201) / 10_000, rtol=1e-6)


SCHEDULES = st.one_of(
    *(
        st.builds(kind, warmup=st.integers(0, 40))
        for kind in (optim.Constant, optim.InverseSqrt, optim.Linear, optim.Cosine)
    ),
    st.builds(optim.Polynomial, warmup=st.integers(0, 40), power=st.sampled_from([0.5, 2.0])),
    st.builds(optim.Linear, warmup=st.integers(0, 40), decay_from_start=st.just(True)),
    st.builds(optim.WarmupStableDecay, warmup=st.integers(0, 40), decay=st.integers(1, 40)),
)


@given(SCHEDULES, st.integers(80, 120), st.integers(1, 100))
def test_extends_freely_says_what_the_rates_say(schedule, num_steps, more):
    """The steps before fixed_until have the rates of a longer run, and the first one after has not."""
    fixed = schedule.fixed_until(num_steps)
    at = jnp.arange(120)  # one shape for all examples
    lr = lambda n: np.asarray(optim.schedule(optim.Optim(peak_lr=1.0, schedule=schedule), n)(at)[:num_steps])
    short, long = lr(num_steps), lr(num_steps + more)
    np.testing.assert_array_equal(short[:fixed], long[:fixed])
    assert optim.extends_freely(schedule, num_steps, fixed)
    if fixed < num_steps - 2:
        assert not optim.extends_freely(schedule, num_steps, fixed + 1)
        assert (short[fixed : fixed + 2] != long[fixed : fixed + 2]).any()


def test_a_fraction_is_fixed_once_resolved():
    schedule = optim.Constant(warmup=0.1)
    assert not optim.extends_freely(schedule, N, 1)
    known = schedule.resolve(N)
    assert known == optim.Constant(warmup=W) and optim.extends_freely(known, N, N)
    assert optim.WarmupStableDecay(warmup=0.1, decay=0.25).resolve(N).decay == 250


@pytest.mark.parametrize("bad", [-1, 1.0, 1.5, -0.1])
def test_lengths_are_steps_or_fractions(bad):
    with pytest.raises(UserError, match=r"optim\.schedule\.warmup"):
        optim.Linear(warmup=bad)


def test_decay_that_does_not_fit():
    with pytest.raises(UserError, match=r"warm-up \(100\) and decay \(150\) exceed the run's 200 steps"):
        rates(optim.WarmupStableDecay(warmup=100, decay=150), num_steps=200)


@pytest.mark.parametrize(
    "bad",
    [{"peak_lr": -1.0}, {"peak_lr": math.nan}, {"clip_norm": 0.0}, {"ema": 1.0}, {"weight_decay": -0.1}],
)
def test_numbers_out_of_range(bad):
    with pytest.raises(UserError, match=f"optim.{next(iter(bad))}"):
        optim.Optim(**{"peak_lr": 1e-3, **bad})


def test_betas_out_of_range():
    with pytest.raises(UserError, match=r"AdamW\.b1"):
        optim.AdamW(b1=1.0)
