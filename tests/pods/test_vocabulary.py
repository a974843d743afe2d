# SPDX-License-Identifier: Apache-2.0
"""The vocabulary's projection and its loss on a tensor axis: no device ever holds the logits of all words.

The real step and evaluation, compiled for 8 devices of which 4 share the vocabulary.  Sizes are chosen so
that one device's own logits are the largest array by far: any gathered one, in whatever shape, is larger.
"""

import dataclasses

import pytest

from ssl_jax import parallel
from ssl_jax.data import Chunks, Packed
from ssl_jax.models import BertConfig, GptConfig, ModernConfig
from ssl_jax.objectives import MaskedLm, Masking, NextToken
from tests.objectives.fakes import meta
from tests.pods.programs import arrays, programs, size

ROWS, LENGTH, SHARDS = 32, 16, 4
SMALL = dict(num_layers=1, dim=16, num_heads=4, mlp_dim=16, max_positions=LENGTH)
MODELS = {
    "bert": BertConfig(**SMALL),
    "gpt": GptConfig(**SMALL),
    "untied": ModernConfig(**SMALL, tied=False),
    "untied causal": ModernConfig(**SMALL, tied=False, causal=True),
}
MASKED, NEXT = (
    MaskedLm(plan=Packed(length=LENGTH), masking=Masking(rate=0.5)),
    NextToken(plan=Chunks(length=LENGTH)),
)
slow = pytest.mark.slow


def made(model, objective, rules=None):
    """(the programs on data=2 tensor=4, elements of one device's own logits of one micro-batch of one)."""
    known = dataclasses.replace(meta(4000), vocab_shards=SHARDS)
    mesh = parallel.MeshConfig(data=2, tensor=SHARDS).make()
    ours = programs(objective, MODELS[model], known, ROWS, mesh, rules)
    slots = objective.masking.slots(LENGTH) if objective is MASKED else LENGTH
    return ours, ROWS // 2 * slots * known.padded_vocab // SHARDS


@pytest.mark.parametrize(
    ("model", "objective", "accumulation"),
    [
        ("bert", MASKED, 1),
        pytest.param("gpt", NEXT, 1, marks=slow),
        pytest.param("gpt", NEXT, 2, marks=slow),
        pytest.param("untied", MASKED, 2, marks=slow),
        pytest.param("untied causal", NEXT, 1, marks=slow),
    ],
)
def test_a_step_holds_logits_of_its_own_words_alone(model, objective, accumulation):
    ours, own = made(model, objective)
    assert_none_larger(ours.step(accumulation), own // accumulation)


@pytest.mark.parametrize(
    ("model", "objective"),
    [
        ("untied causal", NEXT),
        pytest.param("bert", MASKED, marks=slow),
        pytest.param("untied", MASKED, marks=slow),
    ],
)
def test_an_evaluation_holds_logits_of_its_own_words_alone(model, objective):
    ours, own = made(model, objective)
    assert_none_larger(ours.evaluation(), own)


def assert_none_larger(text, own):
    shapes = arrays(text)
    assert max(map(size, shapes)) == own
    assert not [
        shape for shape in shapes if len(shape) > 1 and max(shape) in (4000, 4096)
    ]  # nor a whole table


def test_logits_of_all_words_are_found_where_they_are():
    """The guard of the guard: a rule that keeps the vocabulary whole."""
    ours, own = made("gpt", NEXT, parallel.Rules(vocab=None))
    assert max(map(size, arrays(ours.evaluation()))) == own * SHARDS
