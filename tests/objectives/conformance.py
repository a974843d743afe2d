# SPDX-License-Identifier: Apache-2.0
"""What every objective must keep (DESIGN's contract), as checks of one case.  A new objective runs them all:

@pytest.mark.parametrize("check", CHECKS)
def test_conformance(check):
    check(Case(objective=..., rows=[...], meta=..., config=..., at_birth={"mlm": math.log(60)}))
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssl_jax import nn
from ssl_jax.types import Mean, Meta, ModelConfig, Objective, Row

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}  # compiles are most of the time


@dataclass(frozen=True)
class Case:
    """objective and config: not bound yet.  rows: 8, of as unequal weights as the objective knows.

    at_birth: term -> what it must be, within 20 %, before any training (log V for a guess among V).
    """

    objective: Objective
    rows: Sequence[Row]
    meta: Meta
    config: ModelConfig
    at_birth: Mapping[str, float]

    @functools.cached_property
    def bound(self) -> Objective:
        return self.objective.bind(self.meta)

    @functools.cached_property
    def batch(self) -> dict[str, np.ndarray]:
        examples = [self.example(row) for row in self.rows]
        return {name: np.stack([e[name] for e in examples]) for name in self.bound.spec()}

    def build(self, rngs: nnx.Rngs) -> nn.Model:
        trunk = self.config.bind(self.meta).build(rngs)
        return nn.Model(trunk, self.bound.heads(trunk, rngs))

    @functools.cached_property
    def born(self) -> tuple[Any, nn.Params]:
        """(graphdef, params)"""
        graphdef = []

        def params(key):
            static, params = nn.split(self.build(nnx.Rngs(key)))
            graphdef.append(static)
            return params

        born = jax.jit(params, compiler_options=QUICK)(jax.random.key(0))
        return graphdef[0], born

    def example(self, row: Row) -> dict[str, np.ndarray]:
        return self.bound.example(row, np.random.Generator(np.random.Philox(key=[7, row.id])))

    def terms(self, params: nn.Params, batch: Any, key: Any = None) -> dict[str, Mean]:
        model = nn.merge(self.born[0], params)
        return self.bound.loss(model, self.bound.init_extra(model), batch, key)

    @functools.cached_property
    def forward(self) -> Any:
        """(params, batch) -> (terms, outputs of predict), compiled."""

        def forward(params, batch):
            return self.terms(params, batch), self.bound.predict(nn.merge(self.born[0], params), batch)

        return jax.jit(forward, compiler_options=QUICK)

    @functools.cached_property
    def step(self) -> Any:
        """(params, batch, valid, weights) -> (loss, gradient), as the training step has them, compiled."""

        def loss(params, batch, valid, weights):
            terms = self.terms(params, batch).items()
            return sum(m.coef * ratio(total(m.total, valid), weights[name]) for name, m in terms if m.coef)

        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)

    def weights(self, batch: Any) -> dict[str, Any]:
        terms, _ = self.forward(self.born[1], batch)
        return {name: jnp.sum(mean.weight) for name, mean in terms.items()}

    @property
    def all_rows(self) -> np.ndarray:
        return np.ones(len(self.rows), bool)


def total(values: Any, valid: Any) -> Any:
    """Sum over the valid rows; whatever other rows hold becomes 0."""
    return jnp.sum(jnp.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0))


def ratio(total: Any, weight: Any) -> Any:
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1.0), 0.0)


def reduced(terms: Mapping[str, Mean], valid: np.ndarray) -> dict[str, float]:
    """Term -> total / weight over the valid rows."""
    return {n: float(ratio(total(m.total, valid), total(m.weight, valid))) for n, m in terms.items()}


def check_spec_is_what_example_returns(case: Case):
    spec = {name: (s.shape, np.dtype(s.dtype)) for name, s in case.bound.spec().items()}
    for row in case.rows:
        assert {name: (x.shape, x.dtype) for name, x in case.example(row).items()} == spec


def check_example_is_pure(case: Case):
    for row in case.rows[:3]:
        kept = [part.tokens.copy() for part in row.parts]
        once, again = case.example(row), case.example(row)
        assert all(np.array_equal(once[name], again[name]) for name in once)
        assert all(np.array_equal(a, part.tokens) for a, part in zip(kept, row.parts, strict=True))


def check_terms_have_a_row_axis_and_a_weight_each(case: Case):
    terms, outputs = case.forward(case.born[1], case.batch)
    for name, mean in terms.items():
        assert mean.total.shape == mean.weight.shape, name
        assert mean.total.shape[0] == len(case.rows), name
        assert mean.total.dtype == mean.weight.dtype == jnp.float32, name
        assert isinstance(mean.coef, float), name
        assert float(jnp.sum(mean.weight)) > 0, name
    assert all(output.shape[0] == len(case.rows) for output in outputs.values())


def check_a_row_of_zeros_is_legal(case: Case):
    """An evaluation's last batch is padded with such rows; a gradient through them must be finite too."""
    zeros = {name: np.zeros_like(x) for name, x in case.batch.items()}
    results = (
        case.forward(case.born[1], zeros),
        case.step(case.born[1], zeros, case.all_rows, case.weights(zeros)),
    )
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(results))


def check_weights_depend_on_the_batch_alone(case: Case):
    """Walks the jaxpr from the weights back to its inputs: no parameter is reached."""

    def weights(params, batch):
        return {name: mean.weight for name, mean in case.terms(params, batch).items()}

    _, params = case.born
    jaxpr = jax.make_jaxpr(weights)(params, case.batch).jaxpr
    variables = lambda atoms: {v for v in atoms if not isinstance(v, jax.extend.core.Literal)}
    needed = variables(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            needed |= variables(equation.invars)
    assert not needed & set(jaxpr.invars[: len(jax.tree.leaves(params))])


def check_nothing_is_drawn_without_a_key(case: Case):
    jaxpr = str(jax.make_jaxpr(case.terms)(case.born[1], case.batch))
    assert not [word for word in ("random_bits", "random_seed", "threefry", "rng_bit") if word in jaxpr]


def check_a_key_changes_no_shape(case: Case):
    shapes = [jax.eval_shape(case.terms, case.born[1], case.batch, key) for key in (None, jax.random.key(1))]
    assert jax.tree.map(lambda s: (s.shape, s.dtype), shapes[0]) == jax.tree.map(
        lambda s: (s.shape, s.dtype), shapes[1]
    )


def check_invalid_rows_change_nothing(case: Case):
    """Be they zeros, as the pipeline makes them, or anything else."""
    valid = np.arange(len(case.rows)) < 5
    only = lambda x, other: np.where(valid.reshape(-1, *[1] * (x.ndim - 1)), x, other)
    results = [
        reduced(
            case.forward(case.born[1], {name: only(x, other(x)) for name, x in case.batch.items()})[0], valid
        )
        for other in (np.zeros_like, lambda x: x, lambda x: np.roll(x, 3, axis=0))
    ]
    for result in results[1:]:
        for name, value in result.items():
            np.testing.assert_allclose(value, results[0][name], rtol=1e-5, err_msg=name)


def check_rows_do_not_see_each_other(case: Case):
    """A row's totals are the same in any company: what sharding the batch rests on."""
    turned = {name: np.roll(x, 3, axis=0) for name, x in case.batch.items()}
    (terms, _), (after, _) = (case.forward(case.born[1], batch) for batch in (case.batch, turned))
    for name in terms:
        np.testing.assert_allclose(
            np.roll(terms[name].total, 3, axis=0), after[name].total, rtol=2e-4, atol=2e-5
        )


def check_heads_hold_none_of_the_trunks_parameters(case: Case):
    variables = lambda module: {id(v) for _, v in nnx.iter_graph(module) if isinstance(v, nnx.Variable)}

    def shared(key):
        model = case.build(nnx.Rngs(key))
        names.extend(name for name in model.heads if variables(model.heads[name]) & variables(model.trunk))

    names: list[str] = []
    jax.eval_shape(shared, jax.random.key(0))  # nothing is drawn
    assert not names


def check_every_head_learns(case: Case):
    _, gradient = case.step(case.born[1], case.batch, case.all_rows, case.weights(case.batch))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient.get("heads", {})):
        assert float(jnp.abs(leaf).max()) > 0, jax.tree_util.keystr(path)


def check_accumulated_equals_the_large_batch(case: Case):
    """First each term's weight over all rows, then the sum over micro-batches: loss and gradient.

    A micro-batch is the batch with only its own rows valid, which is the same sum without another compile.
    """
    _, params = case.born
    weights = case.weights(case.batch)
    whole, gradient = case.step(params, case.batch, case.all_rows, weights)
    micro = [np.arange(len(case.rows)) % 4 == i for i in range(4)]
    parts = [case.step(params, case.batch, valid, weights) for valid in micro]
    counts = [case.batch["weights"][valid].sum() for valid in micro if "weights" in case.batch]
    assert not counts or len(set(counts)) > 1, "give the case rows of unequal weight"
    np.testing.assert_allclose(sum(loss for loss, _ in parts), whole, rtol=1e-5)
    summed = jax.tree.map(lambda *leaves: sum(leaves), *(g for _, g in parts))
    for a, b in zip(jax.tree.leaves(summed), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def check_loss_at_birth_is_a_guess(case: Case):
    terms, _ = case.forward(case.born[1], case.batch)
    assert {name for name, mean in terms.items() if mean.coef} == set(case.at_birth)
    means = reduced(terms, case.all_rows)
    for name, expected in case.at_birth.items():
        assert math.isclose(means[name], expected, rel_tol=0.2), (name, means[name], expected)


def check_show_reads_as_text(case: Case):
    shown = case.bound.show(case.example(case.rows[0]))
    assert len(shown) > 20 and "array(" not in shown


def check_what_bind_fills_is_no_part_of_the_configuration(case: Case):
    assert case.objective.meta is None and case.bound.meta is case.meta
    assert dataclasses.replace(case.bound, meta=None) == case.objective
    bound = [f.name for f in dataclasses.fields(case.objective) if f.metadata.get("bound")]
    assert bound == ["meta"], "config.json never sees these"


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_")]
