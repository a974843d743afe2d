# SPDX-License-Identifier: Apache-2.0
"""The step: one pure function, compiled once.

    W_n  = sum over the whole global batch of term n's weight
    loss = sum_n coef_n * (sum of term n's total) / W_n                     (0/0 is 0)

The weights come first, by a call outside the gradient (they depend on the batch alone, so XLA removes the
forward), and then the micro-batches are scanned with those weights: exact for several terms with unequal
weights, across micro-batches and hosts.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ssl_jax import nn, optim, parallel
from ssl_jax.loop.guards import Guard
from ssl_jax.loop.state import State
from ssl_jax.types import Batch, Mean, Objective


def masked_sum(values: Any, valid: Any) -> Any:
    """Sum of values [B, ...] over the rows that are valid [B], in float32."""
    valid = valid.reshape(valid.shape + (1,) * (values.ndim - 1))
    return jnp.sum(jnp.where(valid, values.astype(jnp.float32), 0.0))


def sums(means: dict[str, Mean], valid: Any, part: str) -> dict[str, Any]:
    return {name: masked_sum(getattr(mean, part), valid) for name, mean in means.items()}


def ratio(total: Any, weight: Any) -> Any:
    """total / weight, and 0 where the weight is 0."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1.0), 0.0)


def micro_batches(batch: Batch, count: int) -> Any:
    """[B, ...] -> [count, B / count, ...]; micro-batch i holds rows i, count + i, ...

    Reshaped so that the sharded axis stays outermost, then swapped: no row changes its device.
    """
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1), batch)


def make_step(
    graphdef: Any,
    objective: Objective,
    tx: optax.GradientTransformation,
    schedule: Callable[[Any], Any],
    guards: tuple[Guard, ...],
    *,
    seed: int,
    accumulation: int = 1,
    ema: float | None = None,
) -> Callable[[State, Batch], tuple[State, dict[str, Any]]]:
    """(state, batch [B, ...]) -> (state, metrics: name -> scalar).  B is the whole global batch."""

    def gradient(params, extra, weights, batch, key):
        def loss_of(params):
            means = objective.loss(nn.merge(graphdef, params), extra, batch, key)
            totals = sums(means, batch["valid"], "total")
            terms = [m.coef * ratio(totals[n], weights[n]) for n, m in means.items() if m.coef != 0.0]
            return jnp.sum(jnp.stack(terms)), totals

        (loss, totals), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss, totals, grads

    def accumulated(state, batch, weights, key):
        """The same sums as one large batch, a micro-batch at a time."""

        def of_parts(micro_and_key):
            here = functools.partial(gradient, state.params, state.extra, weights)
            return parallel.of_each_part(here, *micro_and_key)

        def body(carry, micro_and_key):
            return jax.tree.map(jnp.add, carry, of_parts(micro_and_key)), None

        micros = micro_batches(batch, accumulation), jax.random.split(key, accumulation)
        shapes = jax.eval_shape(lambda every: of_parts(jax.tree.map(lambda x: x[0], every)), micros)
        start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.lax.scan(body, start, micros)[0])

    def step(state: State, batch: Batch) -> tuple[State, dict[str, Any]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        model = nn.merge(graphdef, state.params)
        weights = sums(objective.loss(model, state.extra, batch, None), batch["valid"], "weight")
        if accumulation == 1:
            loss, totals, grads = gradient(state.params, state.extra, weights, batch, key)
        else:
            loss, totals, grads = accumulated(state, batch, weights, key)

        means = {name: ratio(totals[name], weights[name]) for name in totals}
        grad_norm = optax.tree.norm(grads)
        verdicts = [g.check(s, loss, grad_norm) for g, s in zip(guards, state.guards, strict=True)]
        good = jnp.all(jnp.stack([ok for ok, _ in verdicts])) if verdicts else jnp.bool_(True)
        lr = jnp.asarray(schedule(state.step), jnp.float32)

        updates, opt = tx.update(grads, state.opt, state.params)
        params = jax.tree.map(lambda p, u: p - lr * u, state.params, updates)
        averaged = optim.ema_update(state.ema, params, ema, state.step) if ema is not None else state.ema
        extra = objective.update(state.extra, nn.merge(graphdef, params), means, state.step)
        new = State(
            step=state.step,
            params=params,
            opt=opt,
            extra=extra,
            guards=state.guards,
            ema=averaged,
        )
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), new, state)
        after = tuple(s for _, s in verdicts)
        counts = {name: value for s in after for name, value in s.items()}
        metrics = {
            "loss": loss,
            **means,
            "lr": lr,
            "grad_norm": grad_norm,
            "hash": jnp.sum(jnp.where(batch["valid"], batch["row_hash"], 0), dtype=jnp.uint32),
            **counts,
        }
        kept = State(state.step + 1, kept.params, kept.opt, kept.extra, after, kept.ema)
        return kept, metrics

    return step


def make_evaluation(graphdef: Any, objective: Objective) -> Callable[[Any, Any, Batch], dict[str, Any]]:
    """(params, extra, batch) -> {"totals", "weights": name -> scalar, "predict": name -> [B, ...]}.

    The host adds totals and weights over batches in float64 and divides once.
    """

    def evaluate(params, extra, batch):
        model = nn.merge(graphdef, params)
        means = objective.loss(model, extra, batch, None)
        return {
            "totals": sums(means, batch["valid"], "total"),
            "weights": sums(means, batch["valid"], "weight"),
            "predict": objective.predict(model, batch),
        }

    return evaluate
