# SPDX-License-Identifier: Apache-2.0
"""The speed of `prepare`'s encoding against `encode_batch` of the `tokenizers` library, over the same text.

    python benchmarks/prepare.py --text books.txt.xz --first-mb 10

For each comparison both sides run in turn, each time in a process of their own (so with cold caches), on the
same cores, with as many threads; which one goes first alternates.  Timed is encoding alone: reading and
decompressing the text, training and loading the tokenizer are not.  With --whole, our side is the whole of
`prepare` in place of its encoding: reading, hashing, the held-out side, encoding, writing and publishing.

Ours also finds where words and sentences start; `encode_batch` also gives offsets and masks.
A ratio is peer seconds / our seconds: above 1, ours is faster.
"""

import argparse
import dataclasses
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

# comparison -> (our tokenizer, the peer's)
COMPARISONS = {
    "sentencepiece": ("sentencepiece", "bpe"),
    "sentencepiece-wordpiece": ("sentencepiece", "wordpiece"),
    "wordpiece": ("wordpiece", "wordpiece"),
    "bpe": ("bpe", "bpe"),
}
ABOUT = {
    "sentencepiece": "sentencepiece BPE",
    "wordpiece": "tokenizers WordPiece",
    "bpe": "tokenizers byte-level BPE",
}


def documents(source: str, unit: str, first_mb: float | None) -> list[str]:
    """The documents of a text, cut from its first so many MB (10^6 bytes) of UTF-8."""
    from ssl_jax.data import Data, Unit
    from ssl_jax.data.sources import open_sources

    data = Data(source=source, unit=Unit(unit))
    left = float("inf") if first_mb is None else first_mb * 1e6
    texts = []
    for text in itertools.chain.from_iterable(s.records() for s in open_sources(data)):
        if isinstance(text, str):
            raw = text.encode()
            if len(raw) > left:
                text = raw[: int(left)].decode(errors="ignore")
            texts.append(text)
            left -= len(raw)
            if left <= 0:
                break
    return texts


def train(kind: str, texts: list[str], vocab_size: int, folder: Path) -> None:
    """A tokenizer's folder, as `ssl_jax.text.load` reads it."""
    from ssl_jax import text

    if kind == "sentencepiece":
        return text.SentencePiece(vocab_size=vocab_size).train(texts, folder)
    if kind == "wordpiece":
        return text.WordPiece(vocab_size=vocab_size).train(texts, folder)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.save(str(folder.with_suffix(".json")))
    text.TokenizerJson(path=str(folder.with_suffix(".json"))).train((), folder)


# ------------------------------------------------------------------------------------ one measurement


def measure(side: str, folder: Path, corpus: Path, threads: int, whole: bool) -> tuple[float, int]:
    """(seconds, tokens) of one side, in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    if side == "ours" and whole:
        return _prepare(folder, corpus, threads)
    texts = [json.loads(line)["text"] for line in corpus.read_text(encoding="utf-8").split("\n") if line]
    if side == "peer":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_batch(["warm"] * threads)  # starts its threads
        begin = time.perf_counter()
        found = tokenizer.encode_batch(texts, add_special_tokens=False)
        return time.perf_counter() - begin, sum(len(encoding) for encoding in found)
    from ssl_jax import text

    encoder = text.Encoder(text.load(folder), text.Text())
    begin = time.perf_counter()
    docs = encoder.encode_documents(texts, threads)
    return time.perf_counter() - begin, sum(len(doc.tokens) for doc in docs)


def _prepare(folder: Path, corpus: Path, threads: int) -> tuple[float, int]:
    from ssl_jax import data, text

    with tempfile.TemporaryDirectory() as place:
        os.environ["SSL_JAX_CACHE"] = place
        source = data.JsonLines(pattern=str(corpus))
        begin = time.perf_counter()
        made = data.prepare(data.Data(source=source, num_threads=threads), text.Text(), tokenizer=folder)
        return time.perf_counter() - begin, made.report["tokens"]


def run(side: str, folder: Path, corpus: Path, threads: int, whole: bool) -> dict:
    """measure() in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        side,
        str(folder),
        str(corpus),
        str(threads),
        str(int(whole)),
    ]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, tokens = json.loads(done.stdout)
    return {"seconds": seconds, "tokens": tokens}


# ---------------------------------------------------------------------------------------------- report


@dataclasses.dataclass(frozen=True)
class Pair:
    ours: dict
    peer: dict

    @property
    def ratio(self) -> float:
        return self.peer["seconds"] / self.ours["seconds"]


def compare(ours: Path, peer: Path, corpus: Path, args: argparse.Namespace) -> list[Pair]:
    pairs = []
    for i in range(args.pairs):
        folders = {"ours": ours, "peer": peer}
        order = ("ours", "peer") if i % 2 == 0 else ("peer", "ours")
        found = {side: run(side, folders[side], corpus, args.threads, args.whole) for side in order}
        pairs.append(Pair(**found))
        print(f"  pair {i + 1}: ratio {pairs[-1].ratio:.2f}", file=sys.stderr, flush=True)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument("--text", default="python-docs", help="a file, glob or folder (default: python-docs)")
    units = ("auto", "file", "line", "block", "section")
    parser.add_argument("--unit", choices=units, default="auto", help="what a document is (default: auto)")
    parser.add_argument("--first-mb", type=float, help="take so many MB of it (default: all)")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--pairs", type=int, default=5, help="of measurements (default: 5)")
    parser.add_argument(
        "--only", choices=COMPARISONS, action="append", help="one comparison; may be repeated"
    )
    parser.add_argument("--whole", action="store_true", help="time the whole of prepare, not its encoding")
    args = parser.parse_args()

    texts = documents(args.text, args.unit, args.first_mb)
    size = sum(len(text.encode()) for text in texts)
    print(
        f"{len(texts):,} documents, {size / 1e6:.1f} MB; vocabulary {args.vocab_size:,}; "
        f"{args.threads} threads"
    )
    names = "sentencepiece", "tokenizers", "numpy"
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "documents.jsonl"
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        chosen = {name: COMPARISONS[name] for name in args.only or COMPARISONS}
        for kind in {kind for both in chosen.values() for kind in both}:
            train(kind, texts, args.vocab_size, Path(place) / kind)
        what = "whole of prepare" if args.whole else "encoding"
        for ours, peer in chosen.values():
            pairs = compare(Path(place) / ours, Path(place) / peer, corpus, args)
            ratios = [pair.ratio for pair in pairs]
            speed = [
                size / 1e6 / statistics.median(getattr(p, s)["seconds"] for p in pairs)
                for s in ("ours", "peer")
            ]
            print(
                f"{what} with {ABOUT[ours]}: {speed[0]:.1f} MB/s; encode_batch of {ABOUT[peer]}: "
                f"{speed[1]:.1f} MB/s; ratio min {min(ratios):.2f} median {statistics.median(ratios):.2f} "
                f"max {max(ratios):.2f} of {len(ratios)}; "
                f"tokens {pairs[0].ours['tokens']:,} and {pairs[0].peer['tokens']:,}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        side, folder, corpus, threads, whole = sys.argv[2:]
        print(json.dumps(measure(side, Path(folder), Path(corpus), int(threads), whole == "1")))
    else:
        main()
