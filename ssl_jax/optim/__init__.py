# SPDX-License-Identifier: Apache-2.0
"""Optimization: schedules, and transformations of gradients that act a layer on stacked parameters.

The learning rate stays outside: `build` gives updates u with new = params - lr * u, and the step multiplies
by `schedule(cfg, num_steps)(step)`, so that a skipped step counts for the schedule.
"""

from ssl_jax.optim.algorithms import AdamW, Algorithm, Lamb, Muon, orthogonalize
from ssl_jax.optim.build import (
    Optim,
    OptimState,
    build,
    decay_mask,
    ema_update,
    report,
    schedule,
    state_shardings,
)
from ssl_jax.optim.leaves import Decay
from ssl_jax.optim.other import Optax
from ssl_jax.optim.schedules import (
    Constant,
    Cosine,
    DecayShape,
    InverseSqrt,
    Length,
    Linear,
    Polynomial,
    Schedule,
    WarmupStableDecay,
    extends_freely,
    steps_of,
)

__all__ = [
    "AdamW",
    "Algorithm",
    "Constant",
    "Cosine",
    "Decay",
    "DecayShape",
    "InverseSqrt",
    "Lamb",
    "Length",
    "Linear",
    "Muon",
    "Optax",
    "Optim",
    "OptimState",
    "Polynomial",
    "Schedule",
    "WarmupStableDecay",
    "build",
    "decay_mask",
    "ema_update",
    "extends_freely",
    "orthogonalize",
    "report",
    "schedule",
    "state_shardings",
    "steps_of",
]
