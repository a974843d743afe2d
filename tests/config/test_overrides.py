# SPDX-License-Identifier: Apache-2.0
"""--set."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ssl_jax import config
from ssl_jax.types import UserError
from tests.config.kinds import Heads, Loop, Masking, Recipe, Steps, Tokens, Unit, put


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("loop.batch_size=200", 200),
        ("loop.batch_size=1e3", 1000),
        ("loop.batch_size=64k", 64_000),
        ("loop.batch_size=2.5M", 2_500_000),
        ("loop.batch_size=1_000", 1000),
        ("loop.batch_size=-1", -1),
        ("loop.clip=1e-4", 1e-4),
        ("loop.clip=1", 1.0),
        ("loop.clip=none", None),
        ("loop.clip=inf", math.inf),
        ("loop.warmup=100", 100),
        ("loop.warmup=2k", 2000),
        ("loop.warmup=0.06", 0.06),
        ("loop.warmup=1.0", 1.0),
        ("loop.deterministic=true", True),
        ("loop.deterministic=no", False),
        ("objective.unit=WORD", Unit.WORD),
        ("objective.unit=Unit.word", Unit.WORD),
        ("objective.kind=slow", "slow"),
        ("mesh.axes=data,fsdp", ("data", "fsdp")),
        ("mesh.axes=()", ()),
        ("mesh.axes=(data,)", ("data",)),
        ("source=books/*.txt", "books/*.txt"),
        ("source=a=b.txt", "a=b.txt"),
        ("source=Corpus(1).txt", "Corpus(1).txt"),
        ("source='none'", "none"),
        ("source=Steps(3)", Steps(3)),
        ("loop.duration=Tokens(2M)", Tokens(2_000_000)),
        ("loop.duration=Tokens(n=5)", Tokens(5)),
        ("objective=Masking(rate=0.4, unit=WORD)", Masking(rate=0.4, unit=Unit.WORD)),
        ("sources=Tokens(4),Tokens(n=5)", (Tokens(4), Tokens(5))),
        ("sources.1.n=7", 7),
        ("extra=1e-4", 1e-4),
        ("extra=word", "word"),
    ],
)
def test_set_reads_a_value_by_the_fields_type(text, value):
    path = text.partition("=")[0]
    new = put(text)
    for name in path.split("."):
        new = new[int(name)] if isinstance(new, tuple) else getattr(new, name)
    assert new == value
    assert type(new) is type(value)


def test_set_changes_nothing_else_and_applies_left_to_right():
    assert put("loop.batch_size=4", "loop.batch_size=5") == Recipe(loop=Loop(batch_size=5))


def test_set_alias_sets_another_field():
    assert put("loop.num_steps=1e3").loop.duration == Steps(1000)
    assert put("loop.num_steps=1e3", "loop.duration=Tokens(5)").loop.duration == Tokens(5)
    assert put("loop.duration=Tokens(5)", "loop.num_steps=1e3").loop.duration == Steps(1000)
    assert put("loop.duration=Tokens(5)", "loop.duration.n=6").loop.duration == Tokens(6)


@pytest.mark.parametrize("order", [1, -1])
def test_sets_that_are_right_only_together_are_taken_together(order):
    base = Recipe(extra=Heads())
    sets = ["extra.dim=9", "extra.num_heads=3"][::order]
    assert config.apply_sets(base, sets).extra == Heads(dim=9, num_heads=3)
    with pytest.raises(UserError, match=r"^--set extra\.dim=9: dim 9 is no multiple"):
        config.apply_sets(base, ["extra.dim=9"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loop.batch_sise=4", "did you mean loop.batch_size"),
        ("batch_size=4", "did you mean loop.batch_size"),
        ("lop.batch_size=4", "did you mean loop.batch_size"),
        ("loop.whatever=4", "loop has: duration, batch_size, log_every"),
        ("zzz=4", "a recipe has: seed, objective"),
        ("meta=4", "no such field"),
        ("extra.x=4", "extra is None in this recipe"),
        ("seed.x=4", "seed is of type int"),
        ("sources.2.n=4", "no such field"),
        ("loop.num_steps.x=4", "no such field"),
        ("loop.batch_size", "say it as --set path=value"),
        ("loop.batch_size=1.5", "expected a whole number"),
        ("loop.batch_size=many", "expected a whole number"),
        ("loop.batch_size=nan", "expected a whole number"),
        ("loop.deterministic=1", "expected true or false"),
        ("loop.clip=x", "expected none or a number"),
        ("objective.unit=LETTER", "expected TOKEN or WORD"),
        ("objective.kind=x", "expected fast or slow"),
        ("objective.rate=2", "rate is 2.0; it must lie between 0 and 1"),
        ("objective=x", "or set its fields: rate, unit, kind"),
        ("objective=Maskin(rate=1)", "did you mean Masking"),
        ("objective=Masking(rat=1)", "Masking has no field rat; it has: rate"),
        ("objective=Masking(rate=2)", "it must lie between 0 and 1"),
        ("loop.duration=Tokens()", "n"),
        ("loop.duration=__import__('os')", "no class __import__ here"),
        ("objective=Masking(rate=__import__('os'))", "expected a number"),
    ],
)
def test_set_refuses_in_one_line(text, said):
    with pytest.raises(UserError) as caught:
        put(text)
    message = str(caught.value)
    assert said in message
    assert message.startswith(f"--set {text.partition('=')[0]}")
    assert "\n" not in message


@given(st.integers())
def test_set_reads_back_every_int(n):
    assert put(f"loop.batch_size={n}").loop.batch_size == n


@given(st.floats(allow_nan=False))
def test_set_reads_back_every_float_with_all_bits(x):
    assert put(f"loop.clip={x!r}").loop.clip.hex() == x.hex()
