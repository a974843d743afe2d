# SPDX-License-Identifier: Apache-2.0
"""What a compiled module sends and moves, counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from ssl_jax import parallel
from ssl_jax.plan import hlo, traffic
from ssl_jax.plan.traffic import Sent

# As XLA:TPU writes: a loop whose bound is in its condition, a reduce-scatter as a fusion, a gather in parts
# of one chain, groups as axes of a mesh, transfers between slices.
MODULE = """\
HloModule jit_step, entry_computation_layout={()->()}

%all-reduce-scatter.1 (input: bf16[8,4]) -> bf16[4,4] {
  %input = bf16[8,4]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-reduce.9 = bf16[8,4]{1,0} all-reduce(%input), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %slice.1 = bf16[4,4]{1,0} slice(%all-reduce.9), slice={[0:4], [0:4]}
}

%part.1 (a: f32[8,4]) -> f32[16,4] {
  %a = f32[8,4]{1,0} parameter(0)
  ROOT %all-gather.1 = f32[16,4]{1,0} all-gather(%a), channel_id=2, CHAIN
}

%part.2 (b: f32[8,4]) -> f32[16,4] {
  %b = f32[8,4]{1,0} parameter(0)
  ROOT %all-gather.2 = f32[16,4]{1,0} all-gather(%b), channel_id=2, CHAIN
}

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%p), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %start = f32[16,4]{1,0} fusion(%x), kind=kCustom, calls=%part.1
  %more = f32[16,4]{1,0} fusion(%x), kind=kCustom, calls=%part.2
  %half = bf16[8,4]{1,0} convert(%x)
  %scattered = bf16[4,4]{1,0} fusion(%half), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%n, %x)
}

%condition (q: (s32[], f32[8,4])) -> pred[] {
  %bound = s32[]{:T(128)} constant(12)
  %q = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%q), index=0
  ROOT %lt = pred[] compare(%i, %bound), direction=LT
}

ENTRY %main (arg: f32[8,4]) -> f32[8,4] {
  %arg = f32[8,4]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %init = (s32[], f32[8,4]{1,0}) tuple(%zero, %arg)
  %loop = (s32[], f32[8,4]{1,0}) while(%init), condition=%condition, body=%body
  %out = f32[8,4]{1,0} get-tuple-element(%loop), index=1
  %token = token[] after-all()
  %send.1 = (f32[8,4]{1,0}, u32[], token[]) send(%out, %token), channel_id=7, TRANSFER
  %send.2 = (f32[8,4]{1,0}, u32[], token[]) send(%out, %token), channel_id=8, TO_EVERY_SLICE
  ROOT %sum = f32[8,4]{1,0} all-reduce(%out), channel_id=3, replica_groups=[2,2]<=[2,2]T(1,0), to_apply=%add
}
"""
MODULE = (
    MODULE.replace("CHAIN", """replica_groups=mesh['x'=2,'y'=2] {'y'}, frontend_attributes={chain_id="0"}""")
    .replace(
        "TRANSFER",
        "is_host_transfer=true, frontend_attributes={_xla_megascale_target={{100000,200000},{100001,200001}},"
        '_xla_megascale_transfer_type="ALL_REDUCE"}',
    )
    .replace(
        "TO_EVERY_SLICE", '{_xla_megascale_target="{1:2}x{0:1}",_xla_megascale_transfer_type="ALL_GATHER"}'
    )
)


def test_loops_chains_fusions_and_slices_are_counted_as_they_run():
    module = hlo.read(MODULE)
    assert module.guessed == 0
    assert module.times(lambda *_: 0.0)["body"] == 12
    assert traffic.collectives(module, [0, 0, 1, 1]) == [
        Sent("all-gather", False, 12, 12 * 8 * 4 * 4),  # of two devices: each sends its own half
        Sent("all-gather", True, 1, 8 * 4 * 4),
        Sent("all-reduce", True, 2, 2 * 2 * 8 * 4 * 4 / 2),  # one by transfer, one over groups {0, 2}, {1, 3}
        Sent("reduce-scatter", False, 12, 12 * 8 * 4 * 2 / 2),
    ]


def test_a_loop_counts_from_where_it_begins_and_as_it_steps():
    """As XLA:TPU writes a product whose operand comes in parts, two of them a turn: 2, 4, ... below 12."""
    text = MODULE.replace("%zero = s32[] constant(0)", "%zero = s32[] constant(2)").replace(
        "  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%n, %x)",
        "  %two = s32[] constant(2)\n  %next = s32[] add(%n, %two)\n"
        "  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%next, %x)",
    )
    assert hlo.read(text).times(lambda *_: 0.0)["body"] == 5


def test_a_loop_that_does_not_say_how_often_is_counted_once_and_said():
    module = hlo.read(MODULE.replace("constant(12)", "parameter(1)"))
    assert module.guessed == 1
    assert module.times(lambda *_: 0.0)["body"] == 1


@pytest.mark.parametrize(
    ("written", "groups"),
    [
        ("replica_groups={{0,3},{1,2}}", [[0, 3], [1, 2]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a'}", [[0, 1, 2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=2], device_ids=([2,2]T(1,0)) {'a','b'}", [[0, 1], [2, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(0,3,1,2) {'b'}", [[0, 3], [1, 2]]),
        ("replica_groups=mesh['a'=4] {'a':(1)2}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=4] {'a':(2)2}", [[0, 1], [2, 3]]),
        ("source_target_pairs={{0,1},{1,0},{2,2}}", [[0, 1], [1, 0]]),
        ("replica_groups={}", [[0, 1, 2, 3]]),
    ],
)
def test_every_way_to_write_groups(written, groups):
    line = hlo.Instruction("c", "f32[]", "all-reduce", (), f", {written}, to_apply=%add", False)
    assert traffic.groups_of(line, 4) == groups


@pytest.mark.parametrize(("written", "count"), [("{}", 0), ("{{0,1}}", 0), ("rings(0,1)", 1)])
def test_groups_that_are_written_in_a_new_way_are_said(written, count):
    whole = MODULE.replace("replica_groups={{0,1},{2,3}}", f"replica_groups={written}")
    assert traffic.unread(hlo.read(whole)) == count


def test_a_program_of_eight_devices_sends_what_a_count_by_hand_says():
    """x [64, 32] in rows, w [32, 16] whole: the gradient of w is summed over the rows, in a loop of 5."""
    mesh = parallel.MeshConfig().make(jax.devices()[:8])
    rows, whole = parallel.batch_sharding(mesh), NamedSharding(mesh, PartitionSpec())

    def five(w, x):
        step = lambda w, _: (w - jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(w), None)
        return jax.lax.scan(step, w, None, length=5)[0]

    shapes = jax.ShapeDtypeStruct((32, 16), np.float32), jax.ShapeDtypeStruct((64, 32), np.float32)
    text = jax.jit(five, in_shardings=(whole, rows), out_shardings=whole).lower(*shapes).compile().as_text()
    (sent,) = traffic.collectives(hlo.read(text), [0, 0, 0, 0, 1, 1, 1, 1])
    # The ring crosses from one half to the other once, by the links of all four that are there.
    assert sent == Sent("all-reduce", True, 5, 5 * 2 * 32 * 16 * 4 * 7 / 8 / 4)
