# SPDX-License-Identifier: Apache-2.0
"""Start-up of several processes, and the checks that must pass before they train together."""

import os
import zlib

import jax
import numpy as np

from ssl_jax.types import Failure, UserError

COORDINATOR, NUM_PROCESSES, PROCESS_ID = (
    "SSL_JAX_COORDINATOR",
    "SSL_JAX_NUM_PROCESSES",
    "SSL_JAX_PROCESS_ID",
)


def cluster(env: dict[str, str] | None = None) -> str | None:
    """The scheduler that started several processes of this job, by its environment; None on one machine.

    Only schedulers that jax.distributed reads by itself.  A TPU VM pod outside GKE leaves no trace in the
    environment: initialize(auto=True) is for it.
    """
    env = dict(os.environ) if env is None else env
    if int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in env:
        return "slurm"
    if int(env.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return "openmpi"
    if "," in env.get("TPU_WORKER_HOSTNAMES", ""):
        return "tpu"
    return None


def several(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> bool:
    """Whether this is one of several processes, as far as flags and the environment know; uses no device.

    Arguments and errors: as those of `initialize`.  What a TPU VM pod outside GKE is, only jax can find out.
    """
    given = _given(coordinator, num_processes, process_id)
    return cluster() is not None if given is None else given[1] > 1


def _given(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> tuple[str, int, int] | None:
    """The three, from the arguments or else the environment; None where none of them is there."""
    num_processes = _integer(NUM_PROCESSES, num_processes)
    process_id = _integer(PROCESS_ID, process_id)
    coordinator = coordinator or os.environ.get(COORDINATOR)
    given = coordinator, num_processes, process_id
    if all(value is None for value in given):
        return None
    if any(value is None for value in given):
        raise UserError(
            "several processes need all three of --coordinator host:port, --num-processes and --process-id "
            f"(or {COORDINATOR}, {NUM_PROCESSES}, {PROCESS_ID})"
        )
    _check(*given)
    return given


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    auto: bool = False,
    timeout_seconds: int = 300,
    heartbeat_seconds: int = 100,
) -> bool:
    """Join the processes of one run; call it before any other use of jax.  Returns whether there are several.

    coordinator: host:port of process 0.  What is not given comes from SSL_JAX_COORDINATOR,
    SSL_JAX_NUM_PROCESSES and SSL_JAX_PROCESS_ID; without these, Slurm, Open MPI and GKE's TPU pods are
    recognised, and auto leaves all of it to jax (TPU VM pods).  On CPU the collectives are gloo's.
    heartbeat_seconds: a process that is silent for so long ends the run of all.

    Raises UserError where the three are given in part or do not fit, Failure where the others don't come.
    """
    given = _given(coordinator, num_processes, process_id)
    if given is None and not auto and cluster() is None:
        return False
    coordinator, num_processes, process_id = given or (None, None, None)
    if jax.config.jax_platforms == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise Failure(
            f"the processes did not meet at {coordinator or 'their coordinator'}: {reason}"
        ) from error
    return jax.process_count() > 1


def _integer(name: str, value: int | None) -> int | None:
    if value is not None or name not in os.environ:
        return value
    try:
        return int(os.environ[name])
    except ValueError:
        raise UserError(f"{name}={os.environ[name]!r} is no whole number") from None


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"the coordinator {coordinator!r} is not host:port (for example 10.0.0.1:1234)")
    if not 0 <= process_id < num_processes:
        raise UserError(f"process {process_id} of {num_processes}: ids are 0 to {num_processes - 1}")


def agree(**values: str) -> None:
    """Check that all processes hold the same values (a recipe, a fingerprint, a version).

    Raises UserError that names the first value that differs, and the process, on every process alike.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    mine = np.array([zlib.crc32(value.encode()) for value in values.values()], np.uint32)
    everyone = np.asarray(multihost_utils.process_allgather(mine))
    for name, column in zip(values, everyone.T, strict=True):
        for process, digest in enumerate(column):
            if digest != column[0]:
                raise UserError(
                    f"process {process} has another {name} than process 0: all must start from the same files"
                )
