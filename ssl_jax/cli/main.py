# SPDX-License-Identifier: Apache-2.0
"""``ssl-jax``: the arguments of every command.  What a command does is in commands.py and in ssl_jax.run.

Only the standard library is imported here, so that ``--help`` and a typing mistake answer at once.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ssl_jax import __version__
from ssl_jax.cli import run_options, use_options

_EXIT_STATUS = """\
exit status: 0 done, 1 failure (disk full, out of memory), 2 a mistake to mend, 3 the run diverged,
75 stopped by SIGTERM (the same command resumes), 130 Ctrl-C (likewise)"""


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

    run_options.add_pretrain(
        command(
            "pretrain",
            "pretrain a model; run again, the same command resumes",
            "bert_tiny",
            "configs/bert_base.py:phase1 --set data.source='books/*.txt.xz' --set loop.num_steps=20k",
            "bert_base:phase2 --from runs/bert_base-phase1",
        )
    )
    run_options.add_finetune(
        command(
            "finetune",
            "fine-tune a model on a task; run again, the same command resumes",
            "glue:rte --from runs/bert_base-phase2 --data data/RTE",
            "sentiment --from scratch:runs/bert_tiny --data reviews.tsv",
            "glue --from runs/bert_base-phase2 --data data/glue --only rte,mrpc,mnli --seeds 5",
        )
    )
    run_options.add_compare(
        command(
            "compare",
            "fine-tune from several starts, and show what each is worth",
            "glue:sst2 --from runs/bert_base-phase2 --against scratch --seeds 5 --labels 0.01,0.1,1",
        )
    )
    sub = command("tokenizer", "train a recipe's tokenizer", "bert_tiny --set text.tokenizer.vocab_size=8k")
    run_options.add_recipe(sub)
    run_options.add_prepare(
        command(
            "prepare",
            "build a recipe's corpus: tokenizer and token store",
            "bert_tiny",
            "bert_base --part 3/32",
            "bert_base --publish",
            "bert_base --beam -- --runner=FlinkRunner --flink_master=flink:8081",
        )
    )
    run_options.add_plan(
        command(
            "plan",
            "say whether a run fits, what it sends and what it costs, before chips are booked",
            "bert_one_gpu",
            "bert_large --topology v5e:16x16 --slices 2 --price 1.20",
            "gpt2_medium --topology h100:8 --host-devices 8 --json plan.json",
        )
    )
    run_options.add_inspect(
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
        run_options.add_recipe_file(sub)
    run_options.add_export(
        command(
            "export",
            "write a MODEL as a directory that transformers loads, ready for the hub",
            "runs/bert_tiny out/bert-tiny --language en --license apache-2.0",
            "runs/gpt2_small@40000 out/gpt --dtype bfloat16 --shard-size 2GB",
        )
    )
    run_options.add_import(
        command(
            "import",
            "make a workdir of a transformers directory (BERT, RoBERTa, XLM-R, GPT-2, ModernBERT, Qwen3)",
            "models/bert-base-cased runs/bert",
            "models/roberta-base runs/roberta --positions 1024 --add-tokens '<gene>' '<protein>'",
        )
    )
    return top


def _add_evaluate(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, WORKDIR@STEP or an exported directory")
    sub.add_argument("--data", metavar="PATH", help="files or folders, or tfds:name/config:split")
    use_options.add_evaluate(sub)
    run_options.add_recipe_file(sub)


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
