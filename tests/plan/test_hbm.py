# SPDX-License-Identifier: Apache-2.0
"""Bytes to and from memory, counted by hand; the texts are what XLA:TPU writes, made small."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax.plan import hbm, hlo

LAYER = 8 * 128 * 4  # bytes of one layer's part of a stack of ten

# The slice of a stack is taken in a fusion inside the fusion, and only then changed.
NESTED_SLICE = """\
%inner (p: f32[10,8,128], j: s32[]) -> f32[8,128] {
  %p = f32[10,8,128]{2,1,0} parameter(0)
  %j = s32[] parameter(1)
  %z = s32[] constant(0)
  %d = f32[1,8,128]{2,1,0} dynamic-slice(%p, %j, %z, %z), dynamic_slice_sizes={1,8,128}
  ROOT %b = f32[8,128]{1,0} bitcast(%d)
}

%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %f = f32[8,128]{1,0} fusion(%a, %i), kind=kLoop, calls=%inner
  %h = f32[8,128]{1,0} negate(%f)
  ROOT %s = f32[8,128]{1,0} dot(%h, %w), lhs_contracting_dims={1}, rhs_contracting_dims={1}
}
"""
# A whole stack is converted, of which only a slice is asked.
SLICE_OF_CONVERTED = """\
%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[1,8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  %c = bf16[10,8,128]{2,1,0} convert(%a)
  %d = bf16[1,8,128]{2,1,0} dynamic-slice(%c, %i, %z, %z), dynamic_slice_sizes={1,8,128}
  ROOT %e = f32[1,8,128]{2,1,0} convert(%d)
}
"""
# Written in place, through a copy that is none.
UPDATE = """\
%view (p: f32[10,8,128]) -> f32[10,8,128] {
  %p = f32[10,8,128]{2,1,0:T(8,128)} parameter(0)
  ROOT %c = f32[10,8,128]{2,1,0} copy(%p)
}

%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[10,8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  %v = f32[10,8,128]{2,1,0} fusion(%a), kind=kLoop, output_to_operand_aliasing={{}: (0, {})}, calls=%view
  %u = f32[1,8,128]{2,1,0} bitcast(%w)
  ROOT %d = f32[10,8,128]{2,1,0} dynamic-update-slice(%v, %u, %i, %z, %z)
}
"""
# Read, changed in place and written: what jax's accumulation of a layer's gradient becomes.
ACCUMULATION = """\
%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[10,8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  %d = f32[1,8,128]{2,1,0} dynamic-slice(%a, %i, %z, %z), dynamic_slice_sizes={1,8,128}
  %u = f32[1,8,128]{2,1,0} bitcast(%w)
  %s = f32[1,8,128]{2,1,0} add(%d, %u)
  ROOT %r = f32[10,8,128]{2,1,0} dynamic-update-slice(%a, %s, %i, %z, %z)
}
"""
# Into zeros that are made here: all of it is written.
UPDATE_OF_ZEROS = """\
%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[10,8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  %o = f32[] constant(0)
  %n = f32[10,8,128]{2,1,0} broadcast(%o), dimensions={}
  %u = f32[1,8,128]{2,1,0} bitcast(%w)
  ROOT %d = f32[10,8,128]{2,1,0} dynamic-update-slice(%n, %u, %i, %z, %z)
}
"""
# The mean over layers needs them all.
REDUCED = """\
%fused (a: f32[10,8,128], w: f32[8,128], i: s32[]) -> f32[8,128] {
  %a = f32[10,8,128]{2,1,0} parameter(0)
  %w = f32[8,128]{1,0:T(8,128)S(1)} parameter(1)
  %i = s32[] parameter(2)
  %o = f32[] constant(0)
  %r = f32[8,128]{1,0} reduce(%a, %o), dimensions={0}, to_apply=%add
  ROOT %s = f32[8,128]{1,0} add(%r, %w)
}
"""


@pytest.mark.parametrize(
    ("fused", "by_hand"),
    [
        (NESTED_SLICE, 2 * LAYER),
        (SLICE_OF_CONVERTED, 2 * LAYER),
        (UPDATE, LAYER),
        (ACCUMULATION, 2 * LAYER),
        (UPDATE_OF_ZEROS, 10 * LAYER),
        (REDUCED, 11 * LAYER),
    ],
    ids=["slice in a fusion", "slice of converted", "update", "accumulation", "update of zeros", "reduced"],
)
def test_a_fusion_moves_what_it_needs_of_its_operands(fused, by_hand):
    """The operand w, and the index, lie on the chip."""
    head = fused[fused.rindex("%fused") :].splitlines()[0]
    result = head.partition("-> ")[2].removesuffix(" {")
    module = hlo.read(
        f"""{fused}
ENTRY %main (x: f32[10,8,128]) -> {result} {{
  %x = f32[10,8,128]{{2,1,0}} parameter(0)
  %near = f32[8,128]{{1,0:T(8,128)S(1)}} custom-call(), custom_call_target="AllocateBuffer"
  %i = s32[]{{:T(128)S(6)}} parameter(1)
  ROOT %f = {result} fusion(%x, %near, %i), kind=kLoop, calls=%fused
}}
"""
    )
    assert hbm.memory_bytes(module) == by_hand


def test_what_lies_on_the_chip_and_what_makes_no_data_is_no_traffic():
    module = hlo.read(
        """\
ENTRY %main (x: f32[10,8]) -> f32[10,8] {
  %x = f32[10,8]{1,0} parameter(0)
  %room = f32[10,8]{1,0} custom-call(), custom_call_target="AllocateBuffer"
  %near = f32[10,8]{1,0:T(8,128)S(1)} copy(%x)
  %twice = f32[10,8]{1,0:T(8,128)S(1)} add(%near, %near)
  ROOT %out = f32[10,8]{1,0} copy(%twice)
}
"""
    )
    assert hbm.memory_bytes(module) == 2 * 10 * 8 * 4


def test_what_is_fetched_ahead_is_read_once():
    module = hlo.read(
        """\
ENTRY %main (x: s8[96]) -> s8[32] {
  %x = s8[96]{0} parameter(0)
  %start = ((s8[96]{0}), s8[32]{0:T(1024)S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:32]}
  %done = s8[32]{0:T(1024)S(1)} slice-done(%start)
  %ahead = (s8[96]{0}, s8[96]{0:T(1024)S(1)}, u32[]{:S(2)}) copy-start(%x)
  %there = s8[96]{0:T(1024)S(1)} copy-done(%ahead)
  ROOT %out = s8[32]{0:T(1024)S(1)} negate(%done)
}
"""
    )
    assert hbm.memory_bytes(module) == 32 + 96


def test_a_compiled_gradient_moves_what_the_compiler_says():
    """XLA's own count takes the body of a loop once: so do we for this."""

    def loss(stack, x):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0] ** 2)

    shapes = jax.ShapeDtypeStruct((6, 256, 256), np.float32), jax.ShapeDtypeStruct((512, 256), np.float32)
    compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
    text, known = compiled.as_text(), re.compile(r'"known_trip_count":\{"n":"(\d+)"')
    assert set(known.findall(text)) == {"6"}
    once = hlo.read(known.sub('"known_trip_count":{"n":"1"', text))
    assert hbm.memory_bytes(once) == pytest.approx(compiled.cost_analysis()["bytes accessed"], rel=0.1)
    assert hbm.memory_bytes(hlo.read(text)) > 3 * hbm.memory_bytes(once)


def test_of_a_conditionals_branches_the_cheaper_counts():
    """Layers with a window among others: the program does not say how many take which."""

    def either(near, x):
        return jax.lax.cond(near, lambda x: jnp.sum(x[:8] @ x[:8].T), lambda x: jnp.sum(x @ x.T), x)

    shapes = jax.ShapeDtypeStruct((), bool), jax.ShapeDtypeStruct((512, 256), np.float32)
    moved = hbm.memory_bytes(hlo.read(jax.jit(either).lower(*shapes).compile().as_text()))
    assert 8 * 256 * 4 < moved < 512 * 256 * 4
