# SPDX-License-Identifier: Apache-2.0
"""Models out to directories that `transformers` loads, and in from them: what `export` and `import` do.

Either is written into a folder beside its place, and takes its name when it is whole.
"""

import contextlib
import dataclasses
import errno
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax import config, hf, text
from ssl_jax.data.files import fsync_dir, sha256_of
from ssl_jax.experiment import Experiment, Pretrained
from ssl_jax.exported import Exported
from ssl_jax.hf.card import Facts, card, without_places
from ssl_jax.loop import seal
from ssl_jax.loop.checkpoint import Checkpoint, Checkpointer
from ssl_jax.loop.state import State
from ssl_jax.loop.trackers import read_lines
from ssl_jax.report import curve
from ssl_jax.source import Saved, find
from ssl_jax.types import Meta, UserError
from ssl_jax.workdir import Workdir

# -------------------------------------------------------------------------------------------- export


def export(
    model: str,
    out: Path,
    *,
    dtype: str,
    shard_size: int,
    language: Sequence[str],
    licence: str,
    console: Any,
) -> None:
    """MODEL as config.json, safetensors, tokenizer, model card and SHA256SUMS in out, which must be new.

    Raises UserError where no architecture of `transformers` is the model's, or out can't be written.
    """
    source = find(model)
    network, stream = source.network, source.stream()
    tokenizer = text.load(source.tokenizer_dir)
    meta = Meta(tokenizer=tokenizer, vocab_shards=source.vocab_shards, labels=network.labels)
    outgoing = hf.Outgoing(
        config=network.model.bind(meta),
        objective=network.objective and dataclasses.replace(network.objective, meta=meta),
        labels=network.labels,
        specials=tokenizer.specials,
        shapes=stream.shapes,
        read=stream.read,
    )
    parameters = sum(math.prod(shape) for shape in stream.shapes.values())
    with in_place(out, needed=parameters * hf.DTYPES[dtype][1].itemsize) as folder:
        outgoing.write(folder, dtype=dtype, shard_size=shard_size, progress=console.progress)
        exported = hf.export_tokenizer(
            source.tokenizer_dir,
            folder,
            template=outgoing.template,
            max_length=network.model.max_positions,
            token_types=getattr(network.model, "num_types", 0) > 1,
        )
        console.print(str(exported))
        facts = facts_of(source, network, outgoing, tokenizer, parameters, name=out.resolve().name)
        facts = dataclasses.replace(facts, language=tuple(language), licence=licence)
        (folder / "README.md").write_text(card(facts), encoding="utf-8")
        sums = [f"{sha256_of(file)}  {file.name}" for file in sorted(folder.iterdir())]
        (folder / hf.SUMS).write_text("\n".join(sums) + "\n", encoding="utf-8")
    if "und" in language or licence == "unknown":
        console.print("the card names no language or licence yet: say --language and --license, or edit it")
    console.print(f"{source} is in {out} as {facts.architecture}; to the hub:")
    console.print(f"  hf upload YOUR_NAME/{facts.name} {out}")


def facts_of(
    source: Any, network: Pretrained, outgoing: hf.Outgoing, tokenizer: Any, parameters: int, *, name: str
) -> Facts:
    """What the workdir tells of its run; of an import only where it came from."""
    mask = tokenizer.specials.mask
    mask = None if mask is None else tokenizer.pieces([mask])[0]
    facts = Facts(
        name=name,
        use=outgoing.use,
        architecture=outgoing.family.heads[outgoing.use].architecture,
        language=(),
        licence="",
        example=f"Hello {mask}!" if outgoing.use.pipeline == "fill-mask" else "Hello",
        parameters=parameters,
        mask=mask,
        labels=network.labels,
        hashes={"tokenizer": tokenizer.fingerprint},
        notes=(hf.TYPED_SPECIALS,),
    )
    if not isinstance(source, Saved) or not isinstance(run := source.place.experiment(), Experiment):
        trained = {"weights from": network.source} if network.source else {}
        return dataclasses.replace(facts, trained=trained)
    return dataclasses.replace(facts, **facts_of_run(source, run))


def facts_of_run(source: Saved, run: Experiment) -> dict[str, Any]:
    place, resolved = source.place, source.place.resolved()
    lines = [line for line in read_lines(place.metrics) if line["step"] <= source.step]
    training = [(line["step"], line["loss"]) for line in lines if isinstance(line.get("loss"), float)]
    rows = source.step * run.loop.batch_size
    recipe = config.to_json(run)
    names = [s for s in strings(recipe.get("data")) if s.startswith(("hf:", "tfds:"))]
    trained = {
        "steps": f"{source.step:,}",
        "rows seen": f"{rows:,}",
        "tokens seen": f"{rows * resolved['num_tokens'] / resolved['num_rows']:,.0f} (padding not counted)",
        "epochs": f"{rows / resolved['num_rows']:.2f}",
        "data": ", ".join(names) or source_kind(recipe),
        "weights from": Path(run.init).name if run.init else "scratch",
        "final training loss": f"{training[-1][1]:.4f}" if training else "not logged",
    }
    last = next((line for line in reversed(lines) if any("/" in key for key in line)), {})
    return dict(
        recipe=recipe,
        trained=trained,
        measured={key: value for key, value in last.items() if "/" in key and isinstance(value, float)},
        curve=curve.text(training) if len(training) > 1 else "",
        sources=tuple(name.split(":")[1] for name in names if name.startswith("hf:")),
        hashes={name: resolved[name] for name in ("tokenizer", "store", "plan")},
    )


def source_kind(recipe: dict[str, Any]) -> str:
    """What the examples came from, without saying where it lies."""
    source = recipe.get("task") or recipe["data"]["source"]
    if isinstance(source, dict):
        return source["class"].rpartition(".")[2]
    return without_places(source) or "files"


def strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from strings(value)


# -------------------------------------------------------------------------------------------- import


def import_(path: Path, workdir: Path, *, positions: int | None, tokens: Sequence[str], console: Any) -> None:
    """A directory of `transformers` as a workdir with one checkpoint, of step 0.

    positions: the model's new length; a table of learned positions goes on from its beginning again
    (Beltagy et al. 2020, section 5).  tokens: new ones, whose vectors are the mean of all others (Hewitt
    2021).  Raises UserError for a damaged or foreign directory, and where workdir isn't new.
    """
    source = Exported(path)
    network, matched = source.network, source.matched
    room = sum(4 * math.prod(shape) for shape in matched.shapes.values())
    with in_place(workdir, needed=room) as folder:
        place = Workdir(folder)
        model = network.model
        before = text.load(source.tokenizer_dir).vocab_size
        place.keep_tokenizer(source.tokenizer_dir)
        new = hf.add_tokens(place.tokenizer, tokens)
        tokenizer = text.load(place.tokenizer)
        rows = max(tokenizer.vocab_size, model.vocab_rows or 0)
        model = dataclasses.replace(
            model,
            max_positions=longer(model.max_positions, positions),
            vocab_rows=rows if rows > tokenizer.vocab_size else None,
        )
        padded = Meta(tokenizer=tokenizer).padded(rows)
        leaves = {}
        total = sum(math.prod(shape) for shape in matched.shapes.values())
        for some in matched.leaves():
            for name, leaf in some.items():
                leaf = with_tokens(leaf, before, new, padded) if is_vocabulary(name) else leaf
                grows = positions is not None and name == "trunk.embeddings.positions"
                leaf = with_positions(leaf, network.model, model) if grows else leaf
                leaves[name] = jnp.asarray(leaf)  # Orbax copies numpy's arrays, and not those of jax
            done = sum(leaf.size for leaf in leaves.values())
            console.progress("weights", min(done, total), total, "parameter")
        save(place, leaves)
        place.record(dataclasses.replace(network, model=model), None)
    for note in matched.notes:
        console.print(note)
    console.print(f"{path} is in {workdir}: {total / 1e6:.1f} M parameters")
    if positions is not None:
        console.print(
            f"{model.max_positions} positions: new ones start as copies of the first ones, in order"
        )
    if tokens:
        console.print(f"{new} new tokens: each starts as the mean of all {before} others")


def longer(now: int, positions: int | None) -> int:
    if positions is not None and positions < now:
        raise UserError(f"--positions {positions}: the model has {now} already, and none are taken away")
    return positions or now


def is_vocabulary(name: str) -> bool:
    """Whether a leaf has a row a token."""
    return name in ("trunk.embeddings.tokens", "heads.mlm.bias", "heads.mlm.table", "heads.lm.table")


def with_tokens(leaf: np.ndarray, before: int, count: int, padded: int) -> np.ndarray:
    """[padded, ...]: rows before to before + count are the mean of those before them."""
    if count:
        grown = np.zeros((max(padded, len(leaf)), *leaf.shape[1:]), leaf.dtype)[:padded]
        grown[: len(leaf)] = leaf[:padded]
        grown[before : before + count] = leaf[:before].mean(axis=0, dtype=np.float64)
        return grown
    return leaf


def with_positions(leaf: np.ndarray, old: Any, new: Any) -> np.ndarray:
    """A longer table of positions that repeats the old one's."""
    first = getattr(old, "first_position", 0)
    again = np.arange(new.max_positions - old.max_positions) % old.max_positions
    return np.concatenate([leaf, leaf[first + again]])


def save(place: Workdir, leaves: dict[str, jax.Array]) -> None:
    """The leaves as the sealed checkpoint of step 0."""
    params: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split(".")
        node = params
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf
    largest = max(leaf.nbytes for leaf in leaves.values())  # Orbax refuses a leaf above what it may hold
    checkpointer = Checkpointer(place.checkpoints, Checkpoint(), encoded_gb=math.ceil(largest / 1e9))
    state = State(step=jnp.zeros((), jnp.int32), params=params, opt=(), extra=(), guards=(), ema=())
    checkpointer.save(0, state, {"step": 0, "next_row": 0, "best": None, "measured": {}})
    checkpointer.close()


# --------------------------------------------------------------------------------------------- places


@contextlib.contextmanager
def in_place(target: Path, *, needed: int) -> Iterator[Path]:
    """A folder beside target that takes its name at the end, whole and synced; on any error it goes.

    Raises UserError where target holds something, has no room, or can't be written.
    """
    target = target.absolute()
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"{target} is there already, and not empty; name a new folder")
    partial = target.with_name(f".{target.name}.partial")  # what a kill left is of no use
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        free = shutil.disk_usage(partial).free
        if free < needed:
            raise UserError(
                f"{target} needs {needed / 1e6:,.0f} MB, and its disk has {free / 1e6:,.0f} MB free: "
                "make room, or name another"
            )
        yield partial
        for file in seal.files_of(partial):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        partial.rename(target)  # an empty folder gives way
        fsync_dir(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk of {target} is full: make room, or name another") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{target} can't be written: {error.strerror}; name another folder") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
