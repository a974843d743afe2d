# SPDX-License-Identifier: Apache-2.0
"""The devices that a run is planned for: a TPU slice that a compiler knows, GPUs by number, this machine."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ssl_jax.parallel import CHIPS, Chip, chip_of, hush_libtpu
from ssl_jax.types import UserError

JAX_SHARE = 0.75  # of a GPU's memory that jax takes, unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise
MOST_GPUS = 1 << 17
FORMS = (
    "v5e:16x16 or v6e:16x16 (two numbers, 256 chips at most), v4:4x4x8, v5p:8x16x32 or tpu7x:4x4x4 (three), "
    "or a number of GPUs as in h100:64 (a100, a100-40gb, h100, h200, b200)"
)


@dataclass(frozen=True)
class Target:
    """Where a run is to go.

    devices: in the order of the mesh; slice_of: the slice (or the machine of GPUs) of each.  chip: None where
    nothing is known of it.  capacity: bytes of memory that a device has for the run, None where unknown.
    compiles: whether a compiler for these devices is at hand.
    """

    name: str
    devices: Sequence[Any]
    slice_of: tuple[int, ...]
    chip: Chip | None
    capacity: int | None
    compiles: bool

    @property
    def num_chips(self) -> int:
        return len(self.devices) // (self.chip.per_chip if self.chip else 1)

    @property
    def num_slices(self) -> int:
        return max(self.slice_of) + 1


@dataclass(frozen=True)
class Gpu:
    """A device for shardings alone: nothing can be put on it."""

    id: int
    process_index: int
    device_kind: str
    platform: str = "gpu"
    num_cores: int | None = None


def target_of(topology: str, num_slices: int = 1) -> Target:
    """The devices of a topology such as v5e:16x16 or h100:64.  UserError lists the known forms."""
    match = re.fullmatch(r"([a-z0-9-]+):(\d+(?:x\d+)*)", topology.strip().lower())
    if match is None or 0 in (sizes := [int(n) for n in match[2].split("x")]):
        raise UserError(f"--topology {topology}: it is {FORMS}")
    name, chip = match[1], CHIPS.get(match[1])
    if chip is not None and chip.dims is None:
        return _gpus(name, chip, sizes, num_slices)
    return _tpus(name, chip, sizes, num_slices)


def _gpus(name: str, chip: Chip, sizes: list[int], num_slices: int) -> Target:
    if len(sizes) != 1:
        raise UserError(f"--topology {name}: GPUs are counted, as in {name}:64")
    if num_slices != 1:
        raise UserError(f"--slices is for TPUs; of GPUs say how many there are, {chip.largest} a machine")
    if sizes[0] > MOST_GPUS:
        raise UserError(f"--topology {name}:{sizes[0]}: {MOST_GPUS:,} GPUs at most")
    devices = [Gpu(i, i // chip.largest, chip.kinds[0]) for i in range(sizes[0])]
    machines = tuple(device.process_index for device in devices)
    return Target(f"{name}:{sizes[0]}", devices, machines, chip, int(JAX_SHARE * chip.memory), compiles=False)


def _tpus(name: str, chip: Chip | None, sizes: list[int], num_slices: int) -> Target:
    """A chip that the table lacks is the compiler's to know or to refuse."""
    shape = "x".join(map(str, sizes))
    if chip is not None:
        count = chip.per_chip
        for n in sizes:
            count *= n
        if len(sizes) != chip.dims:
            raise UserError(
                f"--topology {name}:{shape}: {name} has {chip.dims} numbers; a topology is {FORMS}"
            )
        if count > chip.largest:
            most = chip.largest // chip.per_chip
            raise UserError(
                f"--topology {name}:{shape}: a slice of {name} has {most} chips at most; see --slices"
            )
    options: dict[str, Any] = {"num_slices": num_slices} if num_slices > 1 else {}
    if shape.strip("x1") == "":  # one chip: its host has no others
        options["chips_per_host_bounds"] = (1, 1, 1)
    if name == "v4":  # two cores that are one device
        options["chip_config_name"] = "megacore"
    devices = _described(f"{name}:{shape}", options)
    chip = chip or chip_of(devices[0].device_kind)
    slices = _slices(devices)
    full = f"{num_slices} x {name}:{shape}" if num_slices > 1 else f"{name}:{shape}"
    return Target(full, devices, slices, chip, chip.memory if chip else None, compiles=True)


def _slices(devices: Sequence[Any]) -> tuple[int, ...]:
    return tuple(getattr(device, "slice_index", None) or 0 for device in devices)


def _described(topology: str, options: dict[str, Any]) -> list[Any]:
    from jax.experimental import topologies

    try:
        import libtpu  # noqa: F401
    except ImportError:
        raise UserError("planning for TPUs needs their compiler: pip install 'ssl_jax[plan]'") from None
    hush_libtpu()
    try:
        return topologies.get_topology_desc(topology_name=topology, platform="tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition(": ")[2].strip() or str(error)
        raise UserError(f"--topology {topology}: {reason.splitlines()[0]}; a topology is {FORMS}") from None


@contextlib.contextmanager
def environment_of(device: Any) -> Iterator[None]:
    """What the compiler of a device may see.  libtpu ends the process at XLA_FLAGS that it doesn't know, as
    flags for a CPU or GPU are; its own are in LIBTPU_INIT_ARGS."""
    flags = os.environ.pop("XLA_FLAGS", None) if device.platform == "tpu" else None
    try:
        yield
    finally:
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags


def this_machine() -> Target:
    """The devices that jax has here, and the memory that they say they have."""
    devices = jax.devices()
    first = devices[0]
    slices = _slices(devices)
    name = f"this machine ({len(devices)} {first.device_kind})"
    return Target(
        name, devices, slices, chip_of(first.device_kind), _capacity(jax.local_devices()[0]), compiles=True
    )


def host_devices(count: int) -> list[Any]:
    """So many devices of the CPU.  Raises UserError where jax has begun with fewer."""
    with contextlib.suppress(RuntimeError):  # it has begun
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(f"--host-devices {count}: jax has begun with {len(devices)} devices of the CPU")
    return devices[:count]


def of_hosts(devices: list[Any]) -> Target:
    """Devices of the CPU that stand for some others, of which nothing is known."""
    return Target(
        f"{len(devices)} devices of the CPU", devices, (0,) * len(devices), None, None, compiles=True
    )


def _capacity(device: Any) -> int | None:
    """Bytes for a run.  The devices of a CPU share the memory of the host that is free now."""
    if device.platform == "cpu":
        return _free_host_memory() // jax.local_device_count()
    stats = device.memory_stats()
    return stats.get("bytes_limit") if stats else None


def _free_host_memory() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        return free * 1024
    except (OSError, StopIteration):  # no Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
