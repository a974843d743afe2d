# SPDX-License-Identifier: Apache-2.0
"""Meshes, rules and shardings."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from ssl_jax import parallel
from ssl_jax.types import Axes, UserError

RULES = parallel.Rules()


def test_minus_one_takes_the_devices_that_are_left():
    mesh = parallel.MeshConfig(data=-1, fsdp=2, tensor=2).make()
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2, "context": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}
    assert parallel.MeshConfig(data=1, fsdp=-1).shape(8)["fsdp"] == 8
    assert parallel.MeshConfig().make(jax.devices()[:1]).size == 1


@given(st.integers(1, 64), *[st.sampled_from([-1, 1, 2, 3, 4])] * 4)
def test_a_shape_multiplies_to_the_devices_or_is_refused(num_devices, data, fsdp, tensor, context):
    try:
        config = parallel.MeshConfig(data=data, fsdp=fsdp, tensor=tensor, context=context)
        shape = config.shape(num_devices)
    except UserError:
        fixed = [n for n in (data, fsdp, tensor, context) if n != -1]
        free = 4 - len(fixed)
        product = math.prod(fixed)
        assert free > 1 or (num_devices % product if free else num_devices != product)
    else:
        assert math.prod(shape.values()) == num_devices


@pytest.mark.parametrize(
    ("axes", "text"),
    [
        ({"data": 3}, r"data=3 x .*the product is 3, not the 8 devices"),
        ({"tensor": 3}, r"tensor=3 .*3 does not divide the 8 devices"),
        ({"data": -1, "fsdp": -1}, "one of them may be -1"),
        ({"fsdp": 0}, "1 or more"),
    ],
)
def test_a_mesh_that_does_not_fit_names_both_numbers(axes, text):
    with pytest.raises(UserError, match=text):
        parallel.MeshConfig(**axes).make()


@dataclass(frozen=True)
class Chip:
    """A device of a pod that nobody here owns: slices of 2 x 4."""

    id: int
    slice_index: int
    process_index: int = 0
    core_on_chip: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v5 lite"

    @property
    def coords(self):
        return self.id % 2, self.id // 2 % 4, 0


def test_data_goes_from_slice_to_slice_and_all_else_stays_inside():
    chips = [Chip(id=8 * part + i, slice_index=part) for part in (1, 0) for i in range(8)]
    mesh = parallel.MeshConfig(data=4, fsdp=2, context=2).make(chips)
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2, "tensor": 1, "context": 2}
    of_slice = [{chip.slice_index for chip in row.flat} for row in mesh.devices]
    assert of_slice == [{0}, {0}, {1}, {1}]
    assert sorted(chip.id for chip in mesh.devices.flat) == list(range(16))


@pytest.mark.parametrize(
    ("axes", "missing", "text"),
    [
        ({"fsdp": 16, "data": 1}, 0, "data=1 over 2 slices of 8 and 8 devices: only data crosses slices"),
        ({"data": 3, "fsdp": 5}, 1, "data=3 over 2 slices of 8 and 7 devices"),
    ],
)
def test_slices_that_data_does_not_divide_over_are_refused(axes, missing, text):
    chips = [Chip(id=i, slice_index=i // 8) for i in range(16 - missing)]
    with pytest.raises(UserError, match=text):
        parallel.MeshConfig(**axes).make(chips)


def test_a_rule_names_axes_that_there_are():
    with pytest.raises(UserError, match=r"mesh\.rules\.mlp: no axis 'model'; there are data, fsdp"):
        parallel.Rules(mlp="model")
    sequence = parallel.MeshConfig(tensor=4, rules=parallel.Rules(norm_length=("context", "tensor")))
    mesh = sequence.make()
    assert sequence.rules.parts("norm_length", mesh) == 4 and sequence.rules.parts("length", mesh) == 1


def specs(names, shape, *, rules=RULES, **axes):
    mesh = parallel.MeshConfig(**axes).make()
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    return parallel.shardings({"w": Axes(names)}, {"w": leaf}, mesh, rules)["w"].spec


def test_rules_map_names_to_axes_and_leave_out_axes_of_one_device():
    names = ("layers", "embed", "heads", "head_dim")
    assert specs(names, (2, 8, 4, 3), fsdp=2, tensor=2) == PartitionSpec(None, "fsdp", "tensor")
    assert specs(names, (2, 8, 4, 3), fsdp=2) == PartitionSpec(None, "fsdp")
    assert specs(names, (2, 8, 4, 3)) == PartitionSpec()
    assert specs(("embed", "embed"), (8, 8), fsdp=2) == PartitionSpec("fsdp")
    rules = parallel.Rules(embed="tensor", mlp=None)
    assert specs(("embed", "mlp"), (8, 8), tensor=2, rules=rules) == PartitionSpec("tensor")


def test_a_dimension_that_does_not_divide_is_replicated_if_small_and_else_named():
    assert specs(("embed", "mlp"), (7, 8), fsdp=2, tensor=2) == PartitionSpec(None, "tensor")
    with pytest.raises(UserError, match=r"w \(2047, 512\): embed=2047 does not divide by the mesh's fsdp=2"):
        specs(("embed", "mlp"), (2047, 512), fsdp=2)


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(KeyError, match="'width' has no rule; there are layers, vocab"):
        specs(("width",), (8,), fsdp=2)


def test_batches_are_split_by_rows():
    mesh = parallel.MeshConfig(data=2, fsdp=2, tensor=2).make()
    assert parallel.batch_sharding(mesh).spec == PartitionSpec(("data", "fsdp"))
    assert parallel.batch_sharding(parallel.MeshConfig(data=1, tensor=8).make()).spec == PartitionSpec()
    context = parallel.MeshConfig(data=2, context=4).make()
    assert parallel.batch_sharding(context).spec == PartitionSpec(
        "data"
    )  # rows are whole, on four devices each
    rows = jax.device_put(np.arange(8), parallel.batch_sharding(mesh))
    assert {shard.data.shape for shard in rows.addressable_shards} == {(2,)}


def test_shard_pins_activations_under_a_mesh_and_does_nothing_without():
    x = jnp.ones((8, 4))
    assert parallel.shard(x, "batch", None) is x
    mesh = parallel.MeshConfig(data=4, tensor=2).make()
    with parallel.use(mesh):
        assert parallel.current() == (mesh, RULES)
        pinned = jax.jit(lambda x: parallel.shard(x * 2, "batch", "mlp"))(x)
        assert pinned.sharding.spec == PartitionSpec("data", "tensor")
        one_row = jax.jit(lambda x: parallel.shard(x * 2, "batch", None))(x[:1])  # does not divide: whole
        assert one_row.sharding.is_fully_replicated
        assert not parallel.length_is_sharded()
    assert parallel.current() is None
    with parallel.use(parallel.MeshConfig(data=4, context=2).make()):
        assert parallel.length_is_sharded()


def test_each_part_of_the_data_axis_has_its_rows_and_a_key_of_its_own():
    mesh = parallel.MeshConfig(data=4, fsdp=2).make(jax.devices()[:8])
    rows = np.arange(16.0, dtype=np.float32).reshape(16, 1)

    def function(rows, key):
        pinned = parallel.shard(rows, "batch", None)
        return pinned.sum(), jax.random.uniform(key)

    with parallel.use(mesh):
        placed = jax.device_put(rows, parallel.batch_sharding(mesh))
        sums, drawn = jax.jit(lambda x, key: parallel.of_each_part(function, x, key))(
            placed, jax.random.key(0)
        )
    assert sums.tolist() == rows.reshape(4, 4).sum(axis=1).tolist()
    assert len(set(drawn.tolist())) == 4
    assert sums.sharding.spec == PartitionSpec("data")


@pytest.mark.parametrize(
    ("axes", "rules"),
    [
        (dict(data=1, fsdp=8), {}),
        (dict(data=4, context=2), {}),  # a row on several devices
        (dict(data=4, fsdp=2), dict(batch=("fsdp", "data"))),
        (dict(data=4, tensor=2), dict(vocab="data")),
        (dict(data=8), dict(embed="data")),  # its gradients lie over data themselves
    ],
)
def test_rows_are_one_part_where_data_cuts_more_than_rows(axes, rules):
    mesh = parallel.MeshConfig(**axes).make()
    with parallel.use(mesh, parallel.Rules(**rules)):
        assert parallel.of_each_part(lambda rows, key: rows.sum(), np.ones((8, 1)), None).shape == (1,)
    assert parallel.of_each_part(lambda rows, key: rows.sum(), np.ones((8, 1)), None).shape == (1,)
