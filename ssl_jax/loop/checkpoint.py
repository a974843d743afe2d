# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: Orbax writes and commits them, a seal proves them, and our own rule keeps or drops them.

The state is saved as one flat dict, path -> array, so that what is on disk names itself and no Python
structure has to be rebuilt to read it.  The data state is one integer, next_row.
"""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax.loop import seal
from ssl_jax.loop.disk import check_room, disk_errors
from ssl_jax.loop.kept import best_first, read_meta
from ssl_jax.loop.loop import check_interval
from ssl_jax.loop.state import State, flat, unflat
from ssl_jax.optim import Length
from ssl_jax.types import Failure, UserError


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The recipe's checkpoint section: when to save and what to keep.

    every: steps, or a fraction of the run; minutes: also when this many have passed since the last save.
    Kept are the last keep_last, the keep_best best by the metric `best` (lower is better, or higher), and
    every keep_every-th step.  A run that keeps its best is used by it: as a MODEL, its workdir stands for the
    best checkpoint so far.
    """

    every: Length = 1000
    minutes: float | None = 15.0
    keep_last: int = 2
    keep_best: int = 0
    best: str = "heldout/loss"
    higher_is_better: bool = False
    keep_every: int | None = None

    def __post_init__(self):
        check_interval("checkpoint.every", self.every)
        if self.keep_last < 1:
            raise UserError("checkpoint.keep_last must be at least 1")


@dataclass(frozen=True)
class Restored:
    step: int
    state: State
    meta: dict[str, Any]
    verified: bool  # its seal was there and every file matched
    skipped: tuple[str, ...]  # damaged checkpoints that were set aside on the way, with the reason


class Checkpointer:
    """The checkpoints of one workdir.  Saves asynchronously; seals once a save is committed.

    encoded_gb: so many at a time are encoded in memory beside the state itself.
    """

    def __init__(self, folder: Path, config: Checkpoint, *, encoded_gb: int = 96):
        import orbax.checkpoint as ocp

        self.folder, self.config = folder.absolute(), config
        self._ocp = ocp
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=None,
                create=True,
                # A deletion is one rename into the trash: a kill inside it leaves no half-deleted step.
                todelete_subdir="_trash",
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(save_concurrent_gb=encoded_gb),
                "meta": ocp.JsonCheckpointHandler(),
            },
        )
        self._unsealed: dict[int, dict[str, Any]] = {}
        self._sealing: threading.Thread | None = None
        self._sealing_error: BaseException | None = None
        self._empty_trash()

    # ------------------------------------------------------------------------------------- saving

    def save(self, step: int, state: State, meta: Mapping[str, Any]) -> None:
        """Starts a save; returns once the state is off the device.  Raises what an earlier save hit."""
        self.poll(wait=True)
        if jax.process_index() == 0:
            check_room(self.folder, state)
        args = self._ocp.args
        with disk_errors(self.folder):
            self._manager.save(
                step,
                args=args.Composite(state=args.StandardSave(flat(state)), meta=args.JsonSave(dict(meta))),
                force=True,
            )
        self._unsealed[step] = {"step": step, "best": meta.get("best")}

    def poll(self, wait: bool = False) -> None:
        """Seals what is committed, in a thread; drops what no rule keeps.  Cheap: call it each step."""
        if wait or (self._unsealed and not self._manager.is_saving_in_progress()):
            with disk_errors(self.folder):
                self._manager.wait_until_finished()
            self._join_if(wait or not (self._sealing and self._sealing.is_alive()))
            if self._unsealed and self._sealing is None:
                ready, self._unsealed = self._unsealed, {}
                self._sealing = threading.Thread(target=self._seal, args=(ready,), daemon=True)
                self._sealing.start()
            self._join_if(wait)
            if wait and jax.process_count() > 1:
                self._drop()
        elif self._sealing is not None and not self._sealing.is_alive():
            self._join_if(True)

    def close(self) -> None:
        self.poll(wait=True)
        self._manager.close()

    def _join_if(self, now: bool) -> None:
        if now and self._sealing is not None:
            self._sealing.join()
            self._sealing = None
            if self._sealing_error is not None:
                error, self._sealing_error = self._sealing_error, None
                with disk_errors(self.folder):
                    raise error
            if jax.process_count() == 1:  # several delete together: where all of them wait
                self._drop()

    def _seal(self, steps: dict[int, dict[str, Any]]) -> None:
        if jax.process_index() != 0:
            return
        try:
            for step, facts in steps.items():
                seal.seal(self.folder / str(step), self._manifest(step), facts)
        except BaseException as error:  # handed to the main thread by _join_if
            self._sealing_error = error

    def _drop(self) -> None:
        """Deletes what no rule keeps; only ever after a newer checkpoint was sealed."""
        steps = sorted(self._manager.all_steps())
        config = self.config
        keep = set(steps[-config.keep_last :])
        if config.keep_every:
            keep |= {s for s in steps if s % config.keep_every == 0}
        keep |= set(best_first(self.folder, steps, config.higher_is_better)[: config.keep_best])
        for step in steps:
            if step not in keep:
                self._manager.delete(step)
                if jax.process_index() == 0:
                    self._manifest(step).unlink(missing_ok=True)
        self._empty_trash()

    def _empty_trash(self) -> None:
        if jax.process_index() == 0:
            shutil.rmtree(self.folder / "_trash", ignore_errors=True)

    # ---------------------------------------------------------------------------------- restoring

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def restore(self, like: State, shardings: State, step: int | None = None) -> Restored | None:
        """The newest good checkpoint (or that step), on the current mesh; None where there is none at all.

        A damaged one is renamed to `<step>.corrupt` and the next older one is taken.  Raises Failure where
        all are damaged, UserError where the step asked for isn't there or is damaged.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            have = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{self.folder.parent} has no checkpoint of step {step}; it has {have}")
        skipped: list[str] = []
        for candidate in [step] if step is not None else reversed(steps):
            sealed = seal.read(self._manifest(candidate))
            wrong = seal.damage(self.folder / str(candidate), sealed) if sealed else None
            if wrong is None:
                try:
                    state, meta = self._read(candidate, like, shardings)
                    return Restored(candidate, state, meta, sealed is not None, tuple(skipped))
                except (KeyError, ValueError, OSError, FileNotFoundError) as error:
                    if sealed:  # its bytes are right, so it is a checkpoint of something else
                        raise UserError(
                            f"checkpoint {candidate} doesn't fit this run: {first_line(error)}"
                        ) from error
                    wrong = first_line(error)
            if step is not None:
                raise UserError(f"checkpoint {candidate} of {self.folder.parent} is damaged: {wrong}")
            skipped.append(f"checkpoint {candidate} is damaged ({wrong}); set aside as {candidate}.corrupt")
            self._set_aside(candidate)
        if skipped:
            raise Failure(
                f"every checkpoint in {self.folder} is damaged ({skipped[0]}); restore a copy, or start anew "
                "with --fresh"
            )
        return None

    def _read(self, step: int, like: State, shardings: State) -> tuple[State, dict[str, Any]]:
        args = self._ocp.args
        abstract = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), flat(like), flat(shardings)
        )
        restored = self._manager.restore(
            step, args=args.Composite(state=args.StandardRestore(abstract), meta=args.JsonRestore())
        )
        return unflat(restored["state"], like), restored["meta"]

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            target = self.folder / f"{step}.corrupt"
            shutil.rmtree(target, ignore_errors=True)
            (self.folder / str(step)).rename(target)
            self._manifest(step).unlink(missing_ok=True)
        self._manager.reload()

    def _manifest(self, step: int) -> Path:
        return self.folder / "_seals" / f"{step}.json"


class Leaves:
    """The leaves of a checkpoint, read only, some at a time.

    shapes: of each leaf, by path; meta: what was saved with them.  Raises UserError where the seal finds
    damage.
    """

    def __init__(self, folder: Path, step: int):
        import orbax.checkpoint as ocp

        place = folder.absolute() / str(step)
        sealed = seal.read(folder / "_seals" / f"{step}.json")
        if sealed and (wrong := seal.damage(place, sealed)):
            raise UserError(f"checkpoint {step} in {folder} is damaged: {wrong}")
        # By itself: of several processes one may want to read (the table at the end), and nobody waits.
        me = jax.process_index()
        only_me = ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"reader{me}"
        )
        self._ocp, self._state = ocp, place / "state"
        self._reader = ocp.Checkpointer(
            ocp.PyTreeCheckpointHandler(multiprocessing_options=only_me), multiprocessing_options=only_me
        )
        self._known = self._reader.metadata(self._state).item_metadata.tree
        self.shapes = {name: tuple(leaf.shape) for name, leaf in self._known.items()}
        self.meta = read_meta(folder, step)

    def read(self, shardings: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The named leaves, each lying as its sharding says."""
        item = {
            name: jax.ShapeDtypeStruct(self._known[name].shape, self._known[name].dtype, sharding=sharding)
            for name, sharding in shardings.items()
        }
        return self._restore(item, self._ocp.checkpoint_utils.construct_restore_args(item))

    def read_to_host(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The named leaves in the memory of this process."""
        return self._restore(
            {name: self._known[name] for name in names},
            {name: self._ocp.RestoreArgs(restore_type=np.ndarray) for name in names},
        )

    def _restore(self, item: dict[str, Any], restore_args: Any) -> dict[str, Any]:
        args = self._ocp.args.PyTreeRestore(item=item, partial_restore=True, restore_args=restore_args)
        return self._reader.restore(self._state, args=args)


def read_leaves(
    folder: Path, step: int, wanted: Callable[[str], bool], shardings: Mapping[str, Any], default: Any
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """(path -> array for the wanted leaves of a checkpoint, its meta), read only.

    A leaf lies as shardings says, otherwise as default.  Raises UserError where the seal finds damage.
    """
    leaves = Leaves(folder, step)
    wanted_ones = {name: shardings.get(name, default) for name in leaves.shapes if wanted(name)}
    return leaves.read(wanted_ones), leaves.meta


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
