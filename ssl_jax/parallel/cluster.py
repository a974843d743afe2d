# SPDX-License-Identifier: Apache-2.0
"""What a scheduler says of this process before jax is asked: (its number, how many there are).

Only schedulers that jax.distributed reads by itself, numbered as it does.
"""

import contextlib
import os
import urllib.request
from collections.abc import Mapping

METADATA = "computeMetadata/v1/instance/attributes"


def of_environment(env: Mapping[str, str]) -> tuple[int, int] | None:
    """Slurm, Open MPI and GKE's TPU pods, by their variables; None on one machine."""
    if int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in env:
        return int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"])
    if int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return int(env["OMPI_COMM_WORLD_RANK"]), int(env["OMPI_COMM_WORLD_SIZE"])
    hosts = env.get("TPU_PROCESS_ADDRESSES") or env.get("TPU_WORKER_HOSTNAMES", "")
    if "TPU_WORKER_ID" in env:
        return _of_slices(int(env["TPU_WORKER_ID"]), len(hosts.split(",")), env)
    return None


def of_tpu_vm() -> tuple[int, int] | None:
    """A host of a Cloud TPU slice outside GKE, by its metadata server; None where none answers."""
    with contextlib.suppress(OSError, ValueError):
        number, hosts = int(_metadata("agent-worker-number")), _metadata("worker-network-endpoints")
        lines = [line.partition(":") for line in _metadata("tpu-env").splitlines()]
        slices = {name.strip(): value.strip().strip("'") for name, _, value in lines}
        return _of_slices(number, len(hosts.split(",")), slices)
    return None


def _of_slices(worker: int, hosts: int, env: Mapping[str, str]) -> tuple[int, int] | None:
    slices, here = int(env.get("MEGASCALE_NUM_SLICES") or 1), int(env.get("MEGASCALE_SLICE_ID") or 0)
    return (here * hosts + worker, slices * hosts) if slices * hosts > 1 else None


def _metadata(key: str) -> str:
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{server}/{METADATA}/{key}", headers={"Metadata-Flavor": "Google"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=5) as answer:
        return answer.read().decode()
