# SPDX-License-Identifier: Apache-2.0
"""The table that a finished run ends with, and prints again whenever it is started again."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax import data, text, weights
from ssl_jax.loop.seal import write_atomically
from ssl_jax.loop.trackers import read_lines
from ssl_jax.report import curve
from ssl_jax.report.baseline import unigram_cross_entropy
from ssl_jax.tasks.base import CONSTANT
from ssl_jax.types import UserError
from ssl_jax.use.guess import guesses
from ssl_jax.workdir import Workdir, write_json

EXAMPLES = 3
TOP = 5


def finish(workdir: Path, console: Any) -> None:
    """Prints the summary of a finished run, making it the first time."""
    place = Workdir(workdir)
    again = bool(place.summary())
    show(keep(place), place, console, again)


def keep(place: Workdir) -> dict[str, Any]:
    """The summary of a finished run; its presence in the workdir says that the run is finished."""
    summary = place.summary()
    if not summary:
        summary = summarise(place)
        write_json(place.path / "summary.json", summary)
    return summary


def summarise(place: Workdir) -> dict[str, Any]:
    """Everything the table shows, read from the workdir alone (and the corpus, while it is there)."""
    lines = read_lines(place.metrics)
    training = [(line["step"], line["loss"]) for line in lines if isinstance(line.get("loss"), float)]
    heldout = [
        (line["step"], line["heldout/loss"]) for line in lines if isinstance(line.get("heldout/loss"), float)
    ]
    title = f"{place.path.name}: {lines[-1]['step']} steps"
    write_atomically(place.path / "loss.svg", curve.svg(training, heldout, title))
    measured = [line for line in lines if "heldout/loss" in line]
    compared = corpus_of(place) if measured else None
    return {
        "steps": lines[-1]["step"],
        "tokens_per_s": lines[-1].get("tokens_per_s"),
        "skipped": lines[-1].get("skipped", 0),
        "before": heldout_of(measured[0]) if len(measured) > 1 else {},
        "after": heldout_of(measured[-1]) if measured else {},
        "unigram": unigram_cross_entropy(
            compared.train, compared.heldout, text.load(place.tokenizer).vocab_size
        )
        if compared
        else None,
        "examples": examples(weights.load(str(place.path)), compared) if compared else [],
        "curve": curve.text(training),
    }


def corpus_of(place: Workdir) -> data.Corpus | None:
    """The corpus of a run over texts, while it is in the cache: the table does without it."""
    if place.experiment().task is not None:
        return None
    try:
        return data.open_corpus(place.resolved()["corpus"])
    except UserError:
        return None


def heldout_of(line: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix("heldout/"): v for k, v in line.items() if k.startswith("heldout/")}


def examples(loaded: weights.Loaded, corpus: data.Corpus) -> list[dict[str, Any]]:
    """Sentences of the held-out side with one hidden word (an encoder) or cut short (a decoder)."""
    tokenizer, model, store = loaded.tokenizer, loaded.model, corpus.heldout
    masks = "mlm" in model.heads
    if not masks and "lm" not in model.heads:
        return []  # an objective of its own: no head that we know how to read
    found = []
    for start, stop in sentences(store):
        ids = store.tokens(start, stop).astype(np.int64)
        word = hidden_word(ids, store.word_starts(start, stop), tokenizer)
        if word is None:
            continue
        specials = tokenizer.specials
        if masks:
            shown = [*ids[:word], specials.mask, *ids[word + 1 :]]
            inner, at = [specials.cls, *shown, specials.sep], word + 1
            text = (
                tokenizer.decode(ids[:word].tolist())
                + " [MASK] "
                + tokenizer.decode(ids[word + 1 :].tolist())
            )
        else:
            inner, at = [specials.bos, *ids[:word]], word
            text = tokenizer.decode(ids[:word].tolist()) + " …"
        best = guesses(model, tokenizer, np.array(inner, np.int32), np.array([at]), TOP)[0]
        answer = tokenizer.decode([int(ids[word])]).strip()
        found.append({"text": text, "answer": answer, "guesses": [[g.text, g.probability] for g in best]})
        if len(found) == EXAMPLES:
            break
    return found


def sentences(store: Any) -> list[tuple[int, int]]:
    """Token ranges of sentences of a readable length, spread over the held-out side, always the same."""
    starts = np.asarray(store.sentence_offsets)
    lengths = np.diff(starts)
    usable = np.flatnonzero((lengths >= 8) & (lengths <= 28))
    order = usable[np.argsort((usable * 2654435761) % (1 << 32), kind="stable")][:200]
    return [(int(starts[i]), int(starts[i + 1])) for i in order]


def hidden_word(ids: np.ndarray, word_starts: np.ndarray, tokenizer: Any) -> int | None:
    """The index of a word that is one token of letters, nearest to two thirds of the sentence."""
    begins = np.append(word_starts, True)
    whole = [
        i
        for i in range(2, len(ids) - 1)
        if begins[i] and begins[i + 1] and tokenizer.decode([int(ids[i])]).strip().isalpha()
    ]
    return min(whole, key=lambda i: abs(i - 2 * len(ids) / 3)) if whole else None


def show(summary: dict[str, Any], place: Workdir, console: Any, again: bool) -> None:
    rows = []
    before, after = summary["before"], summary["after"]
    for name in after:
        value = after[name]
        if name in ("filled", CONSTANT):
            continue
        rows.append([f"held-out {name.replace('_', ' ')}", before.get(name), value])
    if summary["unigram"] is not None:
        rows.append(["cross entropy of a unigram model", None, summary["unigram"]])
    console.table(f"{place.path}: {summary['steps']} steps done", rows, header=["", "before", "after"])
    if summary["skipped"]:
        console.warn(f"{summary['skipped']} steps were skipped: their loss or gradient was not finite")
    console.print()
    for example in summary["examples"]:
        console.print(f"  {example['text']}   ({example['answer']})")
        console.print("      " + "  ".join(f"{text} {p:.0%}" for text, p in example["guesses"]))
    console.print(f"\n  training loss (picture: {place.path / 'loss.svg'})\n{summary['curve']}\n")
    console.print("  next:")
    if summary["examples"] and "mlm" in after:
        console.print(f"    ssl-jax fill-mask {place.path} {shlex.quote(summary['examples'][0]['text'])}")
    console.print(f"    ssl-jax inspect {place.path} --step {summary['steps']}")
    if again:
        console.print(
            "    this run is finished; start it anew with --fresh, or train on in a workdir of its own:"
        )
        console.print(
            f"    the same command with --workdir NEW --branch {place.path}@{summary['steps']} and a"
        )
        console.print("    longer loop.duration")
    else:
        console.print("    train longer: the same command with --set loop.num_steps=N --fresh")
