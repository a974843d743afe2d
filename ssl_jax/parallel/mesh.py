# SPDX-License-Identifier: Apache-2.0
"""The mesh: four named axes over all devices, and the one that is in use."""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from ssl_jax.parallel.rules import AXES, Rules
from ssl_jax.types import UserError


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """How many devices each axis gets; -1 (at most once) is what the others leave.

    data: rows, parameters copied; the one axis that may cross slices.  fsdp: rows, parameters sharded
    (ZeRO-3, Rajbhandari et al. 2020).  tensor: heads, hidden units and vocabulary (Shoeybi et al. 2019).
    context: positions of a row, for long ones (model.kernel says how attention then finds its keys).
    rules: which dimension lies on which axis.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self):
        sizes = self._sizes()
        if any(n < 1 and n != -1 for n in sizes.values()) or list(sizes.values()).count(-1) > 1:
            raise UserError(
                f"mesh {_text(sizes)}: each axis is 1 or more, and one of them may be -1 (the rest)"
            )

    def _sizes(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in AXES}

    def shape(self, num_devices: int) -> dict[str, int]:
        """Axis -> size on so many devices.  Raises UserError where the product is not num_devices."""
        sizes = self._sizes()
        fixed = math.prod(n for n in sizes.values() if n != -1)
        if -1 in sizes.values() and num_devices % fixed == 0:
            sizes = {name: num_devices // fixed if n == -1 else n for name, n in sizes.items()}
        product = math.prod(sizes.values())
        if product != num_devices:
            what = f"{fixed} does not divide" if product < 0 else f"the product is {product}, not"
            raise UserError(
                f"mesh {_text(sizes)}: {what} the {num_devices} devices; "
                "change the axes (mesh.data=-1 takes what is left) or the number of devices"
            )
        return sizes

    def make(self, devices: Sequence[Any] | None = None) -> Mesh:
        """A Mesh with Auto axes over these devices (default: those of all processes).

        Over TPU slices data goes from slice to slice, on the slow network, and all else stays inside one.
        Raises UserError where data does not divide over the slices.
        """
        devices = list(jax.devices() if devices is None else devices)
        data, *inner = self.shape(len(devices)).values()
        slices = _slices(devices)
        if data % len(slices) or len({len(part) for part in slices}) > 1:
            raise UserError(
                f"mesh data={data} over {len(slices)} slices of {' and '.join(str(len(s)) for s in slices)} "
                "devices: only data crosses slices, so take equal slices and a mesh.data that divides by "
                "their number"
            )
        parts = [_arrange((data // len(slices), *inner), part) for part in slices]
        return Mesh(np.concatenate(parts), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def _text(sizes: dict[str, int]) -> str:
    return " x ".join(f"{name}={n}" for name, n in sizes.items())


def _slices(devices: list[Any]) -> list[list[Any]]:
    """The devices of each slice (chips joined by fast links), in the order of slices."""
    slices: dict[int, list[Any]] = {}
    for device in devices:
        number = getattr(device, "slice_index", 0) if device.platform == "tpu" else 0
        slices.setdefault(number, []).append(device)
    return [slices[number] for number in sorted(slices)]


def _arrange(shape: tuple[int, ...], devices: list[Any]) -> np.ndarray:
    """Devices as an array.  Neighbours on a TPU's torus where that is possible, otherwise in their order.

    Their order keeps the devices of one process together, so each process feeds a contiguous block of rows.
    """
    if devices[0].platform == "tpu":
        # It refuses some shapes (an axis that is no product of torus axes, two devices a chip).
        with contextlib.suppress(ValueError, NotImplementedError, AssertionError):
            return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return np.array(devices).reshape(shape)


def once(mesh: Mesh) -> dict[str, Any] | None:
    """compiler_options of jax.jit for a program that runs once, such as an initialisation.

    On CPU the drawing of a tiny model takes four times longer to compile with optimisation (4.4 s to 1.0 s).
    """
    if mesh.devices.flat[0].platform != "cpu":
        return None
    return {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


_current: contextvars.ContextVar[tuple[Mesh, Rules] | None] = contextvars.ContextVar("mesh", default=None)


@contextlib.contextmanager
def use(mesh: Mesh, rules: Rules | None = None) -> Iterator[None]:
    """Trace, compile and run under this mesh: shard() pins activations to it."""
    with ruled_by(mesh, rules or Rules()), jax.set_mesh(mesh):  # the mesh becomes a part of jit's cache key
        yield


@contextlib.contextmanager
def ruled_by(mesh: Mesh, rules: Rules) -> Iterator[None]:
    """use() within a program that is being traced: other rules for a part of it."""
    token = _current.set((mesh, rules))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> tuple[Mesh, Rules] | None:
    """The mesh and rules of the innermost use(), or None."""
    return _current.get()
