# SPDX-License-Identifier: Apache-2.0
"""The commands that use a model: results on stdout, progress and warnings on stderr."""

import argparse
import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ssl_jax import api, config
from ssl_jax.cli.console import Console
from ssl_jax.data import Unit
from ssl_jax.types import UserError
from ssl_jax.use import guess, score, sources
from ssl_jax.use.generate import Generated, Stop
from ssl_jax.use.inputs import Line, read
from ssl_jax.use.predictions import as_json
from ssl_jax.use.sampling import Sampling


def fill_mask(args: argparse.Namespace, console: Console) -> int:
    model = _open(args)
    for line in _lines(args, console, [(text,) for text in args.texts], "a text with [MASK] in it"):
        text = _only(line)
        with _at(line):
            masks = model.fill_mask(text, args.top)
        if args.json:
            found = [[one._asdict() for one in guesses] for guesses in masks]
            console.print(_json({"text": text, "masks": found}))
        else:
            console.print(f"{text}\n{guess.show(masks)}")
    return 0


def generate(args: argparse.Namespace, console: Console) -> int:
    how = {name: getattr(args, name) for name in ("temperature", "top_k", "top_p", "min_p")}
    sampling = Sampling(**how).checked()
    lines = _lines(args, console, [(text,) for text in args.texts], "a prompt")
    model = _open(args)
    live = len(args.texts) == 1 and not args.json and not args.show  # the text grows on the screen

    begun = False

    def watch(result: Generated, text: str) -> None:
        nonlocal begun
        if live:
            console.write(text if begun else result.prompt + text)
            begun = True

    for result in model.generate_all(
        map(_only, lines),
        max_tokens=args.max_tokens,
        sampling=sampling,
        seed=args.seed,
        batch_size=args.batch_size,
        watch=watch,
    ):
        if args.json:
            said = {
                "prompt": result.prompt,
                "text": result.text,
                "tokens": result.tokens,
                "stop": result.stop,
            }
            steps = [[one._asdict() for one in guesses] for guesses in result.likeliest]
            console.print(_json(said | {"likeliest": steps} if args.show else said))
        elif live:
            console.print()
        else:
            steps = zip(result.tokens, result.likeliest) if args.show else ()
            for token, guesses in steps:
                console.print(f"{guess.readable(model.tokenizer, token):<12}  {guess.show([guesses])}")
            console.print(f"{result.prompt}{result.text}")
        if result.stop is Stop.POSITIONS:
            console.warn(f"{result.prompt[:30]!r}... goes on to the model's last position, and no further")
    return 0


def predict(args: argparse.Namespace, console: Console) -> int:
    typed = [tuple(args.texts)] if args.texts else []
    model, cut = _open(args), 0
    lines, again = itertools.tee(_lines(args, console, typed, "a text"))
    for line, prediction in zip(again, model.predict_all(lines, args.batch_size)):
        cut += prediction.cut
        people = f"{' | '.join(line.texts)}\n  {prediction}"
        console.print(_json(as_json(line.texts, prediction)) if args.json else people)
    if cut:
        console.warn(f"{cut:,} of the texts have more tokens than the model reads, and were cut")
    return 0


def evaluate_language_model(args: argparse.Namespace, model: api.Model, console: Console) -> int:
    if args.split or args.out:
        raise UserError(f"--split and --out are of a fine-tuned model, and {args.model} has no task")
    if args.data is None:
        raise UserError("say what to measure on: --data FILES, or --data tfds:name/config:split")
    if args.task != "perplexity" and (args.window or args.stride):
        raise UserError("--window and --stride are of perplexity; the other tasks take the whole context")
    reader = model.reader
    match args.task:
        case "perplexity":
            texts = _counted(lambda: sources.texts(args.data, args.text_key, Unit.AUTO), "documents", console)
            found = model.score(texts, window=args.window, stride=args.stride).summary()
        case "last-word":
            texts = _counted(lambda: sources.texts(args.data, args.text_key, Unit.LINE), "texts", console)
            found = score.last_words(reader, model.tokenizer, texts)
        case "choice":
            questions = _counted(lambda: sources.questions(args.data), "questions", console)
            found = score.multiple_choice(reader, model.tokenizer, questions)
    if args.json:
        console.print(_json({"model": args.model, "data": args.data, "task": args.task, **found}))
    else:
        console.table(f"{args.model} on {args.data}", [[name, value] for name, value in found.items()])
    return 0


# ---------------------------------------------------------------------------------------------- inside


def import_recipe(args: argparse.Namespace) -> None:
    if args.recipe_file is not None:
        config.import_recipe(args.recipe_file)


def _open(args: argparse.Namespace) -> api.Model:
    import_recipe(args)
    return api.load(args.model)


def _lines(
    args: argparse.Namespace, console: Console, typed: list[tuple[str, ...]], what: str
) -> Iterator[Line]:
    """The texts that were typed, or those of --file, with progress."""
    if args.file is None and not typed:
        raise UserError(f"give {what}, or --file FILE")
    if args.file is not None and typed:
        raise UserError("give texts or --file, not both")
    if args.file is None:
        return iter([Line("", texts) for texts in typed])
    return _counted(lambda: read(args.file), "lines", console)


def _counted(make: Callable[[], Iterable[Any]], unit: str, console: Console) -> Iterator[Any]:
    """The items, read once to count them and again, with progress."""
    total = sum(1 for _ in make())
    for number, item in enumerate(make()):
        console.progress("read", number, total, unit)
        yield item
    console.progress("read", total, total, unit)


def _only(line: Line) -> str:
    if len(line.texts) != 1:
        raise UserError(f"{line.where}: {len(line.texts)} texts; this command reads one")
    return line.texts[0]


@contextlib.contextmanager
def _at(line: Line) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{line.where}: {error}" if line.where else str(error)) from error


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


COMMANDS = {"fill-mask": fill_mask, "generate": generate, "predict": predict}
