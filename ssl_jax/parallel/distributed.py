# SPDX-License-Identifier: Apache-2.0
"""Start-up of several processes, and the checks that must pass before they train together."""

import contextlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from ssl_jax.parallel import cluster
from ssl_jax.parallel.meeting import status_of
from ssl_jax.parallel.notes import Seat
from ssl_jax.types import Failure, Told, UserError

COORDINATOR, NUM_PROCESSES, PROCESS_ID = (
    "SSL_JAX_COORDINATOR",
    "SSL_JAX_NUM_PROCESSES",
    "SSL_JAX_PROCESS_ID",
)


def seat(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    auto: bool = False,
    env: Mapping[str, str] = os.environ,
) -> Seat | None:
    """Which of several processes this is, by the flags, our variables or a scheduler; None: the only one, or
    only jax can find out.  Uses no device.

    Arguments and errors: as those of `initialize`.
    """
    if given := _given(coordinator, num_processes, process_id):
        address, count, number = given
        return Seat(number, count, address) if count > 1 else None
    found = cluster.of_environment(env) or (cluster.of_tpu_vm() if auto else None)
    return Seat(*found) if found else None


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
    timeout_seconds: int = 60,
    heartbeat_seconds: int = 100,
) -> bool:
    """Join the processes of one run; call it before any other use of jax.  Returns whether there are several.

    coordinator: host:port of process 0.  What is not given comes from SSL_JAX_COORDINATOR,
    SSL_JAX_NUM_PROCESSES and SSL_JAX_PROCESS_ID; without these, Slurm, Open MPI and GKE's TPU pods are
    recognised, and auto leaves all of it to jax (TPU VM pods).  On CPU the collectives are gloo's.
    timeout_seconds: for the others; jax aborts the process when it is over, so meet (meeting.py) before.
    heartbeat_seconds: a process that is silent for so long ends the run of all.

    Raises UserError where the three are given in part or do not fit, Failure where jax finds no coordinator.
    """
    given = _given(coordinator, num_processes, process_id)
    if given is None and not auto and cluster.of_environment(os.environ) is None:
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
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"the coordinator {coordinator!r} is not host:port (for example 10.0.0.1:1234)")
    if not 0 <= process_id < num_processes:
        raise UserError(f"process {process_id} of {num_processes}: ids are 0 to {num_processes - 1}")


def tells_of_a_loss(error: BaseException | None) -> bool:
    """Whether an error is a collective's that found another process gone: a save or a farewell with it would
    wait for ever."""
    said = r"\bGloo\b|NCCL.*(remote|aborted)|oordination service|heartbeat"
    return isinstance(error, RuntimeError) and re.search(said, str(error)) is not None


def smallest(value: int) -> int:
    """The smallest of all processes' values."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    parts = np.array([value >> 31, value & (2**31 - 1)], np.int32)  # int64 would be cut on the device
    every = np.asarray(multihost_utils.process_allgather(parts)).astype(np.int64)
    return int(min(high * 2**31 + low for high, low in every))


def agree(**values: str) -> None:
    """Check that all processes hold the same values (a recipe, a fingerprint, a version).

    Otherwise process 0 raises a UserError that names the first value that differs, and the others Told.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    mine = np.array([zlib.crc32(value.encode()) for value in values.values()], np.uint32)
    everyone = np.asarray(multihost_utils.process_allgather(mine))
    for name, column in zip(values, everyone.T, strict=True):
        for process, digest in enumerate(column):
            if digest != column[0]:
                if jax.process_index() != 0:
                    raise Told(2)
                raise UserError(
                    f"process {process} has another {name} than process 0: all must start from the same files"
                )


LINE = 1000  # bytes of an error's text that another process may have to print


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What one process raises in here ends all of them at its end, with the same exit status.

    One prints it: process 0 where it is a UserError or a Failure, else the one that raised it, which knows
    the traceback.  The others raise Told.  What waits for another process in here must fail in both alike.
    """
    if jax.process_count() == 1:
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    from jax.experimental import multihost_utils

    foreseen = isinstance(error, UserError | Failure)
    text = str(error).encode()[:LINE] if foreseen else b""
    mine = np.zeros(LINE + 1, np.uint8)
    mine[0] = 0 if error is None else status_of(error)
    mine[1 : len(text) + 1] = np.frombuffer(text, np.uint8)
    everyone = np.asarray(multihost_utils.process_allgather(mine))
    wrong = np.flatnonzero(everyone[:, 0])
    if not len(wrong):
        return
    if error is not None and (not foreseen or jax.process_index() == wrong[0] == 0):
        raise error
    status, line = int(everyone[wrong[0], 0]), everyone[wrong[0], 1:].tobytes().rstrip(b"\0")
    if jax.process_index() != 0 or not line:
        raise Told(status) from error
    raise (UserError if status == 2 else Failure)(f"process {wrong[0]}: {line.decode(errors='replace')}")
