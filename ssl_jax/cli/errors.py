# SPDX-License-Identifier: Apache-2.0
"""Every way a command can end, as one line and an exit status."""

import argparse
import contextlib
import errno
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import Any

from ssl_jax import __version__
from ssl_jax.cli.console import Console
from ssl_jax.cli.format import complain

_BRIEF = (
    "plan",
    "inspect",
    "fill-mask",
    "generate",
    "predict",
    "evaluate",
    "embed",
    "export",
    "import",
)  # commands that leave nothing behind
_RESUMES = "the same command goes on from there"


class Terminated(BaseException):
    """SIGTERM while nothing but the signal says what to do."""


def guarded(args: argparse.Namespace) -> int:
    """Run the command of `args`; its exit status.  Nothing but the exit status comes out."""
    with contextlib.suppress(ValueError):  # not the main thread: a program that embeds us
        signal.signal(signal.SIGTERM, _terminate)
    console = Console(keep_going=args.command in ("pretrain", "finetune", "compare"))
    try:
        from absl import logging

        from ssl_jax.cli.commands import COMMANDS
        from ssl_jax.parallel import hush_libtpu

        hush_libtpu()
        if not args.debug:  # libraries tell of their threads' errors at length; the error itself comes to us
            logging.set_verbosity(logging.FATAL)
            getLogger("asyncio").setLevel(CRITICAL)
        return COMMANDS[args.command](args, console) or 0
    except SystemExit as end:
        if end.code == 75:
            return _report(Terminated(), args)
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException as error:
        console.close()
        status = _report(error, args)
        if _is_left_alone(error):
            _flush()
            os._exit(status)  # jax's farewell would wait for the lost one, and end with an abort
        return status
    finally:
        console.close()
        _flush()


def _terminate(signum: int, frame: Any) -> None:
    raise Terminated


def _report(error: BaseException, args: argparse.Namespace) -> int:
    status, line = explain(error)
    if args.debug:
        traceback.print_exception(error)
    elif isinstance(error, KeyboardInterrupt) and args.command in _BRIEF:
        line = "interrupted"
    elif line is None:
        line = f"{_summary(error)}; {_log(error, getattr(args, 'workdir', None))}"
    if line != "":
        complain(line or _summary(error))
    return status


def explain(error: BaseException) -> tuple[int, str | None]:
    """(exit status, the line to print); "" is silence, None an error that nobody foresaw."""
    from ssl_jax import parallel
    from ssl_jax.types import Failure, Told, UserError

    if isinstance(error, KeyboardInterrupt):
        return 130, f"interrupted; {_RESUMES}"
    if isinstance(error, Terminated):
        return 75, f"stopped by SIGTERM; {_RESUMES}"
    if isinstance(error, Told):
        return error.status, ""
    if isinstance(error, BrokenPipeError):
        return 1, ""
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, Failure):
        return 1, str(error)
    for cause in _chain(error):
        text = str(cause)
        number = cause.errno if isinstance(cause, OSError) else None
        name = getattr(cause, "filename", None)
        where = f" ({name})" if name else ""
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "Disk quota exceeded" in text:
            return 1, f"the disk is full{where}; make room, and {_RESUMES}"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return 2, f"{os.strerror(number)}{where}; name a folder that you may write to, say with --workdir"
        if isinstance(cause, MemoryError):
            return (
                1,
                "out of memory on the host; use a smaller batch (--set loop.batch_size=N)",
            )
        if parallel.tells_of_a_loss(cause):
            return 1, (
                "another process of the run was lost; start all of them again: the same command goes on from "
                "the last checkpoint"
            )
        if "RESOURCE_EXHAUSTED" in text or "OUT_OF_MEMORY" in text:
            return 1, (
                "out of device memory; take fewer rows at a time (--set loop.micro_batch=N, which changes no "
                "result) or shard the parameters (--set mesh.fsdp=N)"
            )
    return 1, None


def _is_left_alone(error: BaseException) -> bool:
    """Whether this is one of several processes that lost another."""
    import jax

    from ssl_jax import parallel

    return jax.distributed.is_initialized() and any(map(parallel.tells_of_a_loss, _chain(error)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and the members of groups."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        cause = todo.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [cause.__context__, cause.__cause__, *getattr(cause, "exceptions", ())]


def _summary(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _log(error: BaseException, workdir: Path | None) -> str:
    """Write the traceback to a file and say which."""
    text = f"ssl-jax {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    text += f"{sys.argv}\n{''.join(traceback.format_exception(error))}"
    folder = workdir if workdir is not None and (workdir / "config.json").is_file() else None
    try:
        if folder is not None:
            file = folder / "error.log"
            file.write_text(text, encoding="utf-8")
        else:
            number, name = tempfile.mkstemp(prefix="ssl-jax-", suffix=".log")
            file = Path(name)
            with open(number, "w", encoding="utf-8") as out:
                out.write(text)
    except OSError:
        return "run it again with --debug to see where"
    return f"the traceback is in {file}"


def _flush() -> None:
    """Whoever read our output may be gone: then the interpreter must not complain at exit either."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
