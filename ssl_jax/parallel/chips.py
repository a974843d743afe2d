# SPDX-License-Identifier: Apache-2.0
"""What is known of accelerators: memory, rates and shapes, from their vendors' pages.

Sources: docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e,tpu7x}, "Key specifications" (read 2026-11); NVIDIA's
data sheets of A100, H100, H200 and B200, and of DGX A100, H100 and B200 for the network.
"""

import os
from dataclasses import dataclass
from pathlib import Path

GB, GiB, TERA = 10**9, 2**30, 10**12


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One device as JAX counts them.

    kinds: what JAX calls it (`device_kind`).  memory: bytes of HBM; memory_rate, link, network: bytes/s of
    HBM, and one way out of a device to its slice (ICI) or its machine (NVLink), and beyond.  peak: dense
    bfloat16 FLOP/s.  None: the vendor does not say.  per_chip: devices of one chip, which is what is priced.
    dims: how many numbers a topology has, as in 16x16; largest: devices of the largest slice, or for GPUs of
    one machine.
    """

    kinds: tuple[str, ...]
    memory: int
    memory_rate: float
    peak: float
    link: float
    network: float | None = None
    per_chip: int = 1
    dims: int | None = None
    largest: int


# ICI: a chip's bidirectional bandwidth, halved.  Network: that of a pod or a host, over its chips.
CHIPS = {
    "v4": Chip(
        kinds=("TPU v4",),
        memory=32 * GiB,
        memory_rate=1200 * GB,
        peak=275 * TERA,
        link=300 * GB,
        dims=3,
        largest=4096,
    ),
    "v5e": Chip(
        kinds=("TPU v5 lite", "TPU v5e"),
        memory=16 * GiB,
        memory_rate=819 * GB,
        peak=197 * TERA,
        link=200 * GB,
        network=6.4e12 / 8 / 256,
        dims=2,
        largest=256,
    ),
    "v5p": Chip(
        kinds=("TPU v5", "TPU v5p"),
        memory=95 * GiB,
        memory_rate=2765 * GB,
        peak=459 * TERA,
        link=600 * GB,
        network=50e9 / 8,
        dims=3,
        largest=6144,
    ),
    "v6e": Chip(
        kinds=("TPU v6 lite", "TPU v6e"),
        memory=32 * GiB,
        memory_rate=1638 * GB,
        peak=918 * TERA,
        link=400 * GB,
        network=100e9 / 8,
        dims=2,
        largest=256,
    ),
    "tpu7x": Chip(  # a chip is two devices: everything of a chip halved
        kinds=("TPU7x",),
        memory=96 * GiB,
        memory_rate=3690 * GB,
        peak=1153.5 * TERA,
        link=300 * GB,
        network=50e9 / 8,
        per_chip=2,
        dims=3,
        largest=2 * 9216,
    ),
    "a100": Chip(
        kinds=("NVIDIA A100-SXM4-80GB",),
        memory=80 * GB,
        memory_rate=2039 * GB,
        peak=312 * TERA,
        link=300 * GB,
        network=25 * GB,
        largest=8,
    ),
    "a100-40gb": Chip(
        kinds=("NVIDIA A100-SXM4-40GB",),
        memory=40 * GB,
        memory_rate=1555 * GB,
        peak=312 * TERA,
        link=300 * GB,
        network=25 * GB,
        largest=8,
    ),
    "h100": Chip(
        kinds=("NVIDIA H100 80GB HBM3",),
        memory=80 * GB,
        memory_rate=3350 * GB,
        peak=989 * TERA,
        link=450 * GB,
        network=50 * GB,
        largest=8,
    ),
    "h200": Chip(
        kinds=("NVIDIA H200",),
        memory=141 * GB,
        memory_rate=4800 * GB,
        peak=989 * TERA,
        link=450 * GB,
        network=50 * GB,
        largest=8,
    ),
    "b200": Chip(
        kinds=("NVIDIA B200",),
        memory=180 * GB,
        memory_rate=8000 * GB,
        peak=2250 * TERA,
        link=900 * GB,
        network=50 * GB,
        largest=8,
    ),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls by this name, or None where nothing is known of it."""
    return next((chip for chip in CHIPS.values() if device_kind in chip.kinds), None)


def hush_libtpu() -> None:
    """Where libtpu is installed and no TPU is there, keep it from looking for one, complaining at length, and
    letting one process at a time compile.

    Before anything uses a device.  What a scheduler has set stays.
    """
    import jax  # noqa: F401  (sets TPU_SKIP_MDS_QUERY where it finds no chip on the PCI bus)

    if os.environ.get("TPU_SKIP_MDS_QUERY") == "1":
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


def unseen_gpu(root: Path = Path("/")) -> str | None:
    """A line about GPUs of this machine that jax doesn't use, or None."""
    import jax

    if jax.default_backend() != "cpu":
        return None
    there = [*root.glob("proc/driver/nvidia/gpus/*")] or [*root.glob("dev/nvidia[0-9]*")]
    if not there:
        return None
    return (
        f"this machine has {len(there)} NVIDIA GPU{'s' * (len(there) > 1)} that jax doesn't see, so it "
        "runs on the CPU: pip install 'ssl_jax[gpu]', and see that JAX_PLATFORMS isn't cpu"
    )
