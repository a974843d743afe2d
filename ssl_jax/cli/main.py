# SPDX-License-Identifier: Apache-2.0
"""``ssl-jax``: the arguments of every command.  What a command does is in commands.py and in ssl_jax.run.

Only the standard library is imported here, so that ``--help`` and a typing mistake answer at once.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ssl_jax import __version__
from ssl_jax.cli import use_options
from ssl_jax.cli.kinds import count as _count
from ssl_jax.cli.kinds import positive as _positive

_EXIT_STATUS = """\
exit status: 0 done, 1 failure (disk full, out of memory), 2 a mistake to mend, 3 the run diverged,
75 stopped by SIGTERM (the same command resumes), 130 Ctrl-C (likewise)"""

_RECIPE = "a Python file whose config() returns an Experiment, FILE.py:FUNCTION, or a shipped recipe's name"


class _Parser(argparse.ArgumentParser):
    """Mistakes in one line; what stands behind `--beam ... --` is kept for Beam."""

    def parse_known_args(
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = sys.argv[1:] if args is None else list(args)
        at = words.index("--") if "--beam" in words and "--" in words else len(words)
        namespace, unknown = super().parse_known_args(words[:at], namespace)
        namespace.beam_options = words[at + 1 :]
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        from ssl_jax.cli.format import complain

        complain(f"{message}; see {self.prog} --help")
        sys.exit(2)


def parser() -> argparse.ArgumentParser:
    """Every command with its options and an example."""
    top = _Parser(
        prog="ssl-jax",
        description="Self-supervised pretraining in JAX: from raw text to a model, resumable at any moment.",
        epilog=f"example:\n  ssl-jax pretrain bert_tiny\n\n{_EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"ssl-jax {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", dest="command", parser_class=_Parser)

    def command(name: str, summary: str, *examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog="\n".join(
                [f"example{'s' * (len(examples) > 1)}:", *(f"  ssl-jax {name} {e}" for e in examples)]
            ),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.add_argument("--debug", action="store_true", help="print the traceback of an error too")
        return sub

    _add_pretrain(
        command(
            "pretrain",
            "pretrain a model; run again, the same command resumes",
            "bert_tiny",
            "configs/bert_base.py:phase1 --set data.source='books/*.txt.xz' --set loop.num_steps=20k",
            "bert_base:phase2 --from runs/bert_base-phase1",
        )
    )
    _add_finetune(
        command(
            "finetune",
            "fine-tune a model on a task; run again, the same command resumes",
            "glue:rte --from runs/bert_base-phase2 --data data/RTE",
            "sentiment --from scratch:runs/bert_tiny --data reviews.tsv",
            "glue --from runs/bert_base-phase2 --data data/glue --only rte,mrpc,mnli --seeds 5",
        )
    )
    _add_compare(
        command(
            "compare",
            "fine-tune from several starts, and show what each is worth",
            "glue:sst2 --from runs/bert_base-phase2 --against scratch --seeds 5 --labels 0.01,0.1,1",
        )
    )
    sub = command("tokenizer", "train a recipe's tokenizer", "bert_tiny --set text.tokenizer.vocab_size=8k")
    _add_recipe(sub)
    _add_prepare(
        command(
            "prepare",
            "build a recipe's corpus: tokenizer and token store",
            "bert_tiny",
            "bert_base --part 3/32",
            "bert_base --publish",
            "bert_base --beam -- --runner=FlinkRunner --flink_master=flink:8081",
        )
    )
    _add_inspect(
        command(
            "inspect",
            "print exactly what the model sees and must predict",
            "bert_tiny --batch 3",
            "runs/bert_tiny --step 120",
            'runs/bert_tiny --text "The dog [MASK] at the cat."',
        )
    )
    _add_evaluate(
        command(
            "evaluate",
            "measure a fine-tuned model on a split of its task, or a language model on texts",
            "runs/glue-rte",
            "runs/glue-rte --split test --data data/glue --out submission",
            "runs/gpt_tiny --data books.txt",
            "runs/gpt_tiny --data lambada.jsonl --task last-word",
            "runs/gpt_tiny --data questions.jsonl --task choice --json",
        )
    )
    for name, summary, add, *examples in use_options.COMMANDS:
        sub = command(name, summary, *examples)
        add(sub)
        _add_recipe_file(sub)
    _add_export(
        command(
            "export",
            "write a MODEL as a directory that transformers loads, ready for the hub",
            "runs/bert_tiny out/bert-tiny --language en --license apache-2.0",
            "runs/gpt2_small@40000 out/gpt --dtype bfloat16 --shard-size 2GB",
        )
    )
    _add_import(
        command(
            "import",
            "make a workdir of a transformers directory (BERT, RoBERTa, XLM-R, GPT-2, ModernBERT, Qwen3)",
            "models/bert-base-cased runs/bert",
            "models/roberta-base runs/roberta --positions 1024 --add-tokens '<gene>' '<protein>'",
        )
    )
    return top


def _add_recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    _add_set(sub)


def _add_prepare(sub: argparse.ArgumentParser) -> None:
    _add_recipe(sub)
    how = sub.add_argument_group(
        "a corpus larger than one machine",
        "every part, in processes that share the folder of the store or of the cache; then --publish",
    ).add_mutually_exclusive_group()
    how.add_argument("--part", type=_part, metavar="I/N", help="encode part I of N, from 0")
    how.add_argument("--publish", action="store_true", help="put the parts together")
    how.add_argument(
        "--beam",
        action="store_true",
        help="all of it as an Apache Beam pipeline, whose own options follow behind --",
    )


def _add_set(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change one field of the recipe, as in optim.peak_lr=1e-4; may be given many times",
    )


def _add_recipe_file(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--recipe",
        dest="recipe_file",
        metavar="FILE",
        help="the file that defines classes of the workdir which are not part of ssl_jax; it is run",
    )


def _add_run(sub: argparse.ArgumentParser) -> None:
    _add_recipe(sub)
    sub.add_argument("--workdir", type=Path, metavar="DIR", help="where the run lives (default: runs/RECIPE)")
    sub.add_argument("--fresh", action="store_true", help="remove the run in the workdir, and start again")
    several = sub.add_argument_group(
        "several processes", "the same command in each; schedulers are recognised"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--num-processes", type=_count, metavar="N")
    several.add_argument("--process-id", type=_count, metavar="I", help="this one's number, from 0")
    several.add_argument("--distributed", action="store_true", help="ask jax for all three (TPU VM pods)")


def _add_finetune(sub: argparse.ArgumentParser) -> None:
    _add_run(sub)
    sub.add_argument(
        "--from",
        dest="start_from",
        metavar="MODEL",
        help="start from the weights of MODEL; scratch or scratch:MODEL take a network with fresh weights",
    )
    _add_data(sub)
    sub.add_argument(
        "--seeds", type=_positive, metavar="N", help="so many runs, each with a seed of its own, as one table"
    )
    sub.add_argument("--only", metavar="A,B", help="of a recipe of several tasks, these alone")


def _add_data(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", metavar="PATH", help="the task's folder or file (default: as the recipe says)")


def _add_compare(sub: argparse.ArgumentParser) -> None:
    _add_recipe(sub)
    sub.add_argument("--workdir", type=Path, metavar="DIR", help="the table (default: runs/compare-RECIPE)")
    sub.add_argument("--from", dest="start_from", metavar="MODEL", required=True, help="the first start")
    sub.add_argument(
        "--against",
        metavar="MODEL",
        nargs="+",
        required=True,
        help="other starts; scratch is the first one's network and tokenizer with fresh weights",
    )
    _add_data(sub)
    sub.add_argument("--seeds", type=_positive, default=3, metavar="N", help="runs each (default: 3)")
    sub.add_argument(
        "--labels", type=_shares, default=(1.0,), metavar="P,Q", help="shares of the labels (default: 1)"
    )
    sub.add_argument("--no-frozen", action="store_true", help="leave out the first start with a frozen trunk")


def _add_pretrain(sub: argparse.ArgumentParser) -> None:
    _add_run(sub)
    start = sub.add_mutually_exclusive_group()
    start.add_argument("--from", dest="start_from", metavar="MODEL", help="start from the weights of MODEL")
    start.add_argument(
        "--branch",
        metavar="WORKDIR@STEP",
        help="start from a run's weights, optimizer and place in the data, with another schedule, say",
    )


def _add_inspect(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("target", metavar="RECIPE|WORKDIR", help=f"{_RECIPE}; or the workdir of a run")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--batch", type=_count, metavar="K", help="batch K of the run, from 0 (default: 0)")
    what.add_argument("--step", type=_positive, metavar="S", help="the batch of step S of a workdir, from 1")
    what.add_argument("--text", metavar="TEXT", help="this text, as the model would see it")
    sub.add_argument(
        "--from", dest="start_from", metavar="MODEL", help="for a recipe that leaves its tokenizer to a MODEL"
    )
    _add_data(sub)
    _add_set(sub)
    _add_recipe_file(sub)


def _add_evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, WORKDIR@STEP or an exported directory")
    sub.add_argument("--data", metavar="PATH", help="files or folders, or tfds:name/config:split")
    use_options.add_evaluate(sub)
    _add_recipe_file(sub)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text} is no part I/N with I from 0 to N-1, as in 0/32")
    return int(part), int(parts)


def _add_export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, WORKDIR@STEP or an exported directory")
    sub.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="a new folder")
    sub.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights (default: float32)",
    )
    sub.add_argument(
        "--shard-size",
        type=_size,
        default=_size("5GB"),
        metavar="SIZE",
        help="the largest file, as in 5GB or 500MB; more weights go into several (default: 5GB)",
    )
    sub.add_argument(
        "--language",
        nargs="+",
        default=["und"],
        metavar="CODE",
        help="for the model card, ISO 639, as in de (default: und, undetermined)",
    )
    sub.add_argument(
        "--license",
        default="unknown",
        metavar="NAME",
        help="for the model card, as the hub names it, as in apache-2.0 (default: unknown)",
    )
    _add_recipe_file(sub)


def _add_import(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("hf_dir", type=Path, metavar="HF_DIR", help="config.json, *.safetensors, a tokenizer")
    sub.add_argument("workdir", type=Path, metavar="WORKDIR", help="a new folder")
    sub.add_argument(
        "--positions",
        type=_positive,
        metavar="N",
        help="lengthen the model; new rows of a table of positions are copies of the first ones",
    )
    sub.add_argument(
        "--add-tokens",
        nargs="+",
        default=[],
        metavar="TOKEN",
        help="lengthen the vocabulary; a new token's vector is the mean of all others",
    )


def _size(text: str) -> int:
    number, unit = text[:-2], {"KB": 10**3, "MB": 10**6, "GB": 10**9}.get(text[-2:].upper())
    if unit is None or not number.isdecimal() or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 5GB or 500MB")
    return int(number) * unit


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"{text} is no list of shares above 0 and up to 1, as in 0.01,0.1,1")
    return shares


def _unknown(sub: argparse.ArgumentParser, words: list[str]) -> NoReturn:
    options = list(sub._option_string_actions)
    close = [c for word in words for c in difflib.get_close_matches(word.partition("=")[0], options, 1, 0.7)]
    hint = f": did you mean {close[0]}?" if close else ""
    sub.error(
        f"there is no option {words[0]}{hint}" if words[0][:1] == "-" else f"what is {words[0]} for?{hint}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a corpus has letters that this terminal may lack
    top = parser()
    commands = top._subparsers._group_actions[0].choices
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        close = difflib.get_close_matches(argv[0], commands, 1)
        hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(commands)}"
        top.error(f"there is no command {argv[0]}: {hint}")
    args, unknown = top.parse_known_args(argv)
    if unknown:
        _unknown(commands[args.command] if args.command else top, unknown)
    if args.command is None:
        top.print_help()
        return 2
    from ssl_jax.cli.errors import guarded  # not before: --help needs nothing of it

    return guarded(args)
