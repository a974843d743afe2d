# SPDX-License-Identifier: Apache-2.0
"""Learning-rate schedules: factors of the peak as a function of the step, valid under jit.

The step counts from 0, as in BERT and `transformers`: with a warm-up of W steps the factor is step / W before
step W (so the first update has rate 0) and 1 at step W.  Decays end at step N, which a run of N never takes.
A length is a number of steps (int) or a fraction of the run (float below 1).
"""

import abc
import dataclasses
import enum
import math
from dataclasses import dataclass
from typing import Any, Self

import jax.numpy as jnp

from ssl_jax.types import UserError

Length = int | float


def _check_length(where: str, length: Length) -> None:
    if length < 0 or (isinstance(length, float) and length >= 1):
        raise UserError(
            f"{where}={length} is neither a number of steps (0, 1, 2, ...) nor a fraction below 1.0"
        )


def steps_of(length: Length, num_steps: int) -> int:
    """A length in steps of a run of num_steps."""
    return round(length * num_steps) if isinstance(length, float) else length


@dataclass(frozen=True, kw_only=True)
class Schedule(abc.ABC):
    """Linear warm-up from 0, then what a subclass says."""

    warmup: Length = 0

    def __post_init__(self) -> None:
        _check_length("optim.schedule.warmup", self.warmup)

    def resolve(self, num_steps: int) -> Self:
        """This schedule with its fractions turned into steps of a run of num_steps.

        A run records it, so that its warm-up stays what it was when the run is made longer.
        """
        return dataclasses.replace(self, warmup=steps_of(self.warmup, num_steps))

    def factor(self, step: Any, num_steps: int) -> Any:
        """Rate / peak at `step`, float32 of the same shape.

        A warm-up that the run is too short for is legal: the rate then never reaches its peak.
        """
        known = self.resolve(num_steps)
        at = jnp.asarray(step, jnp.float32)
        return jnp.where(at < known.warmup, at / max(known.warmup, 1), known.after_warmup(at, num_steps))

    @abc.abstractmethod
    def after_warmup(self, step: Any, num_steps: int) -> Any:
        """The factor from step `warmup` on.  step: float32; self is resolved."""

    @abc.abstractmethod
    def decay_start(self, num_steps: int) -> int:
        """The first step whose factor depends on num_steps, the warm-up taken as given.  self is resolved."""

    def fixed_until(self, num_steps: int) -> int:
        """How many steps of a run of num_steps have rates that a longer run would share."""
        if isinstance(self.warmup, float) and self.warmup > 0:
            return 0
        return max(0, min(num_steps, self.resolve(num_steps).decay_start(num_steps)))


def extends_freely(schedule: Schedule, num_steps: int, step: int) -> bool:
    """Whether a run of num_steps that stands before `step` may be made longer.

    True where the steps taken so far had the rates they would have had in the longer run: always for Constant
    and InverseSqrt, until the decay begins for WarmupStableDecay, within the warm-up for the others.  Ask it
    of a resolved schedule: a warm-up given as a fraction grows with the run.
    """
    return step <= schedule.fixed_until(num_steps)


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The peak, for ever."""

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        return jnp.ones_like(step)

    def decay_start(self, num_steps: int) -> int:
        return num_steps


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """sqrt(W / step) (Vaswani et al. 2017, section 5.3; T5): the warm-up W is the time scale, at least 1."""

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        scale = float(max(self.warmup, 1))
        return jnp.sqrt(scale / jnp.maximum(step, scale))

    def decay_start(self, num_steps: int) -> int:
        return num_steps


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """final + (1 - final) (1 - t)^power, t from 0 at the end of the warm-up to 1 at the end of the run.

    decay_from_start: t counts from step 0 instead, as in BERT's own code (power 1) and NVIDIA's LAMB recipe
    (power 0.5).  The rate then never reaches the peak: at the end of a warm-up of W steps it falls from the
    peak to (1 - W / N)^power of it at once.
    """

    power: float = 1.0
    final: float = 0.0
    decay_from_start: bool = False

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        start = 0 if self.decay_from_start else self.warmup
        t = jnp.clip((step - start) / max(num_steps - start, 1), 0.0, 1.0)
        return self.final + (1.0 - self.final) * (1.0 - t) ** self.power

    def decay_start(self, num_steps: int) -> int:
        return self.warmup


@dataclass(frozen=True, kw_only=True)
class Linear(Schedule):
    """Polynomial of power 1: from the peak at the end of the warm-up to `final` of it at the end of the run.

    decay_from_start: see Polynomial.
    """

    final: float = 0.0
    decay_from_start: bool = False

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        line = Polynomial(warmup=self.warmup, final=self.final, decay_from_start=self.decay_from_start)
        return line.after_warmup(step, num_steps)

    def decay_start(self, num_steps: int) -> int:
        return self.warmup


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine from the peak to `final` of it (Loshchilov and Hutter 2017, without restarts)."""

    final: float = 0.0

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        t = jnp.clip((step - self.warmup) / max(num_steps - self.warmup, 1), 0.0, 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + jnp.cos(math.pi * t))

    def decay_start(self, num_steps: int) -> int:
        return self.warmup


class DecayShape(enum.Enum):
    """How WarmupStableDecay falls, t from 0 to 1 over the decay."""

    LINEAR = "1 - t"
    ONE_MINUS_SQRT = "1 - sqrt(t)"
    COSINE = "(1 + cos(pi t)) / 2"


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """Warm-up, the peak, and a decay over the last `decay` steps to `final` of the peak.

    Hu et al. 2024 (MiniCPM), section 4; the shape 1 - sqrt(t) is the best of Hägele et al. 2024, section 3.
    Where warm-up and decay together don't fit into the run, resolve raises UserError.
    """

    decay: Length = 0.1
    shape: DecayShape = DecayShape.ONE_MINUS_SQRT
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_length("optim.schedule.decay", self.decay)

    def resolve(self, num_steps: int) -> Self:
        known = dataclasses.replace(super().resolve(num_steps), decay=steps_of(self.decay, num_steps))
        if known.warmup + known.decay > num_steps:
            raise UserError(
                f"optim.schedule: warm-up ({known.warmup}) and decay ({known.decay}) exceed the run's "
                f"{num_steps} steps; give them as fractions such as 0.1, or make the run longer"
            )
        return known

    def after_warmup(self, step: Any, num_steps: int) -> Any:
        t = jnp.clip((step - (num_steps - self.decay)) / max(self.decay, 1), 0.0, 1.0)
        left = {
            DecayShape.LINEAR: 1.0 - t,
            DecayShape.ONE_MINUS_SQRT: 1.0 - jnp.sqrt(t),
            DecayShape.COSINE: 0.5 * (1.0 + jnp.cos(math.pi * t)),
        }[self.shape]
        return self.final + (1.0 - self.final) * left

    def decay_start(self, num_steps: int) -> int:
        return num_steps - self.decay
