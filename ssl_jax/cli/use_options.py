# SPDX-License-Identifier: Apache-2.0
"""Arguments of the commands that use a model.  Only the standard library."""

import argparse
from pathlib import Path

from ssl_jax.cli.kinds import number, positive


def add_fill_mask(sub: argparse.ArgumentParser) -> None:
    _add_model(sub)
    sub.add_argument("texts", metavar="TEXT", nargs="*", help="a text with [MASK] in it, or several")
    _add_file(sub, "a text a line, or .jsonl; .gz, .xz and .zst are opened")
    sub.add_argument("--top", type=positive, default=5, metavar="N", help="how many fillings (default: 5)")


def add_generate(sub: argparse.ArgumentParser) -> None:
    _add_model(sub)
    sub.add_argument("texts", metavar="PROMPT", nargs="*", help="a text to go on from, or several")
    _add_file(sub, "a prompt a line, or .jsonl; .gz, .xz and .zst are opened")
    sub.add_argument(
        "--max-tokens", type=positive, default=100, metavar="N", help="after each prompt (default: 100)"
    )
    how = sub.add_argument_group("how a token is chosen")
    how.add_argument(
        "--temperature",
        type=number,
        default=0.0,
        metavar="T",
        help="0 always takes the likeliest (default); 1 draws as the model says, less is bolder",
    )
    how.add_argument("--top-k", type=positive, default=0, metavar="K", help="draw from the K likeliest")
    how.add_argument(
        "--top-p", type=number, default=1.0, metavar="P", help="from the likeliest that sum to P"
    )
    how.add_argument(
        "--min-p", type=number, default=0.0, metavar="P", help="from those P times as likely as the likeliest"
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed draws the same text")
    sub.add_argument("--show", action="store_true", help="the five likeliest tokens of each step")
    sub.add_argument(
        "--batch-size", type=positive, default=8, metavar="B", help="prompts at a time (default: 8)"
    )


def add_predict(sub: argparse.ArgumentParser) -> None:
    _add_model(sub)
    sub.add_argument(
        "texts", metavar="TEXT", nargs="*", help="a text; or two: a pair, or a question and its context"
    )
    _add_file(sub, "a text a line, .tsv with one or two columns, or .jsonl; .gz, .xz and .zst are opened")
    sub.add_argument(
        "--batch-size", type=positive, default=32, metavar="B", help="texts at a time (default: 32)"
    )


def add_embed(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, or WORKDIR@STEP; its heads don't matter")
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--text", dest="texts", action="append", metavar="TEXT", help="may be given many times"
    )
    source.add_argument(
        "--file",
        metavar="FILE",
        help="a text a line (blank ones don't count), or .jsonl or .parquet; .gz, .xz and .zst are opened",
    )
    sub.add_argument("--text-key", default="text", metavar="KEY", help="field of JSON lines (default: text)")
    sub.add_argument(
        "--by", choices=("token", "word", "sentence"), help="what gets a vector (default: every word)"
    )
    sub.add_argument(
        "--word",
        metavar="W",
        help="only where W stands, inside longer words too; with --by word where a whole word is W",
    )
    sub.add_argument(
        "--layers",
        default="last",
        metavar="L",
        help="12, last or last-1; 0 is what goes into the first layer; 0,6,12 or 9..12 stand end to end; "
        "mean:last-3..last is the mean of four (default: last)",
    )
    sub.add_argument(
        "--pool", choices=("mean", "first", "last"), default="mean", help="of its pieces (default: mean)"
    )
    sub.add_argument("--batch-size", type=positive, default=32, metavar="B", help="changes no vector")
    sub.add_argument("--out", type=Path, metavar="FILE", help=".npz or .parquet, of any number of vectors")
    sub.add_argument(
        "--heatmap",
        type=Path,
        metavar="FILE",
        help=".svg or .png: how alike W's vectors are, beside those of its pieces in the token table",
    )


def add_evaluate(sub: argparse.ArgumentParser) -> None:
    """Of a fine-tuned model first, then of a language model."""
    sub.add_argument(
        "--split", metavar="S", help="of a fine-tuned model: dev (default), test, ax of MNLI, all of one file"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", help="of a fine-tuned model: write predictions there")
    sub.add_argument(
        "--task",
        choices=("perplexity", "last-word", "choice"),
        default="perplexity",
        help="of a language model: perplexity and bits per byte (default), the last word of each text, or "
        "which of several choices follows a context",
    )
    sub.add_argument("--text-key", default="text", metavar="KEY", help="field of the text (default: text)")
    sub.add_argument(
        "--window", type=positive, metavar="W", help="tokens seen at most (default: all positions)"
    )
    sub.add_argument("--stride", type=positive, metavar="S", help="by which it moves on (default: half of W)")
    sub.add_argument("--json", action="store_true", help="print one JSON object")


def _add_model(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, WORKDIR@STEP or an exported directory")
    sub.add_argument("--json", action="store_true", help="print JSON, one object a line")


def _add_file(sub: argparse.ArgumentParser, what: str) -> None:
    sub.add_argument("--file", type=Path, metavar="FILE", help=what)


COMMANDS = (  # name, what it does, its arguments, examples
    (
        "fill-mask",
        "fill [MASK] in a text",
        add_fill_mask,
        'runs/bert_tiny "The [MASK] of a list is its [MASK]." --top 3',
    ),
    (
        "generate",
        "write on from a text",
        add_generate,
        'runs/gpt_tiny "Return the" --temperature 0.8 --top-p 0.95 --seed 1',
        'runs/gpt_tiny "Return the" --max-tokens 5 --show',
        "runs/gpt_tiny --file prompts.txt --json",
    ),
    (
        "predict",
        "say what a fine-tuned model makes of a text, a pair, or a question and its context",
        add_predict,
        'runs/glue-sst2 "A film to remember."',
        'runs/bert_tiny "The list is empty." "Its length is 0."',
        "runs/glue-rte --file pairs.tsv --json",
    ),
    (
        "embed",
        "vectors of tokens, words or sentences in their context",
        add_embed,
        'runs/bert_tiny --word bank --text "by the river bank" --text "the bank lent money"',
        "runs/bert_tiny --word 苹 --file fruits.txt --heatmap apple.svg",
        "runs/bert_base@40000 --by sentence --layers mean:last-3..last --file all.jsonl.gz --out all.npz",
    ),
)
