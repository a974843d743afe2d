# SPDX-License-Identifier: Apache-2.0
"""Guards: inside the jitted step they decide whether an update is taken; outside, whether a run goes on."""

import abc
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp


class Guard(abc.ABC):
    """A judge of each update, with a little state of its own on the device."""

    @abc.abstractmethod
    def init(self) -> dict[str, Any]:
        """Its state: a dict of scalars; each is also a metric of that name."""

    @abc.abstractmethod
    def check(self, state: dict[str, Any], loss: Any, grad_norm: Any) -> tuple[Any, dict[str, Any]]:
        """(take this update?, the next state).  Pure; called under jit."""

    @abc.abstractmethod
    def verdict(self, metrics: dict[str, Any]) -> str | None:
        """On the host, from a step's metrics: the reason to stop the run, or None."""


@dataclass(frozen=True, kw_only=True)
class NonFinite(Guard):
    """Skips a step whose loss or gradient is not finite; stops the run after `limit` in a row."""

    limit: int = 10

    def init(self):
        return {"skipped": jnp.zeros((), jnp.int32), "skipped_in_a_row": jnp.zeros((), jnp.int32)}

    def check(self, state, loss, grad_norm):
        good = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        bad = (~good).astype(jnp.int32)
        return good, {
            "skipped": state["skipped"] + bad,
            "skipped_in_a_row": (state["skipped_in_a_row"] + bad) * bad,
        }

    def verdict(self, metrics):
        count = int(metrics["skipped_in_a_row"])
        if count < self.limit:
            return None
        return (
            f"{count} steps in a row had a loss or gradient that is not finite; the parameters are those "
            f"before the first of them. Lower optim.peak_lr or look at the rows named in metrics.jsonl"
        )
