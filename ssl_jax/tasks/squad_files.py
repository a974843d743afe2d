# SPDX-License-Identifier: Apache-2.0
"""SQuAD's JSON (versions 1.1 and 2.0, any language) and its TFDS builders, as records."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_jax.data import Record
from ssl_jax.data.files import chunks
from ssl_jax.data.tfds import data_source, fetch
from ssl_jax.text.chars import clean
from ssl_jax.types import UserError

NAMES = {"train": ("train",), "dev": ("dev", "valid"), "test": ("test",)}  # in the names of a split's files
TFDS_SPLITS = {"train": "train", "dev": "validation"}
READ = 256  # examples at once


class Question(NamedTuple):
    """where: for people, file and question id.  answers: (text, offset), None where the file says nothing."""

    where: str
    id: str
    question: str
    context: str
    answers: Sequence[tuple[str, int]] | None
    impossible: bool


def find_file(folder: Path, split: str, version2: bool) -> Path:
    """The one file of a split: train*.json or *dev*.json.gz, say; of several the one of that version."""
    word = re.compile(rf"(?<![a-z])({'|'.join(NAMES[split])})")
    named = sorted(p for p in folder.iterdir() if p.name.endswith((".json", ".json.gz")))
    found = [p for p in named if word.search(p.name.lower())]
    if len(found) > 1:
        found = [p for p in found if ("v2" in p.name.lower()) == version2] or found
    if len(found) != 1:
        which = ", ".join(p.name for p in found or named) or "none"
        raise UserError(
            f"{folder}: one JSON file with {' or '.join(NAMES[split])} in its name is wanted for {split}; "
            f"found: {which}; name a file itself with --data"
        )
    return found[0]


def of_file(path: Path) -> Iterator[Question]:
    """Raises UserError that says where the file isn't SQuAD's schema."""
    try:
        tree = json.loads(b"".join(chunks(path)).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start}: not UTF-8") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: not SQuAD's JSON: it holds no object with a list `data`")
    for a, article in enumerate(get(tree, "data", list, str(path))):
        at_article = f"{path}: data[{a}]"
        for p, paragraph in enumerate(get(article, "paragraphs", list, at_article)):
            at = f"{at_article}.paragraphs[{p}]"
            context = get(paragraph, "context", str, at)
            for q, asked in enumerate(get(paragraph, "qas", list, at)):
                yield of_json(path, asked, context, f"{at}.qas[{q}]")


def of_json(path: Path, asked: Any, context: str, at: str) -> Question:
    number = str(get(asked, "id", (str, int), at))
    where = f"{path}: question {number}"
    answers = None
    if asked.get("answers") is not None:
        answers = [
            (clean(get(answer, "text", str, where)), get(answer, "answer_start", int, where))
            for answer in get(asked, "answers", list, where)
        ]
    question = clean(get(asked, "question", str, where))
    return Question(where, number, question, clean(context), answers, bool(asked.get("is_impossible")))


def get(tree: Any, key: str, kind: Any, at: str) -> Any:
    """tree[key], which must be of that kind."""
    value = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(value, kind):
        kinds = {str: "a text", list: "a list", int: "a number"}
        name = kinds.get(kind, "a text or number")
        raise UserError(f"{at}: not SQuAD's JSON: {key} must be {name}")
    return value


def of_tfds(name: str, split: str) -> Iterator[Question]:
    """The examples of squad/v1.1, squad/v2.0, or a builder with the same features."""
    if split not in TFDS_SPLITS:
        raise UserError(f"tfds:{name} has no {split} split; name a file of your own with --data")
    examples, builder = data_source(name, TFDS_SPLITS[split])
    for first in range(0, len(examples), READ):
        numbers = range(first, min(first + READ, len(examples)))
        for example in fetch(examples, numbers, builder, f"tfds:{name}"):
            yield of_example(name, example)


def of_example(name: str, example: Mapping[str, Any]) -> Question:
    text = lambda value: clean(value.decode() if isinstance(value, bytes) else str(value))
    number, question, context = (text(example[key]) for key in ("id", "question", "context"))
    found = example["answers"]
    answers = [(text(t), int(s)) for t, s in zip(found["text"], found["answer_start"])]
    where = f"tfds:{name}: question {number}"
    return Question(where, number, question, context, answers, bool(example.get("is_impossible", False)))


def record(question: Question, *, version2: bool, answered: bool) -> Record:
    """answered: the split is learnt from or measured on, so that an answer, or none, must be known.

    An answer's offset is in characters.  Where the answer isn't there (an offset in bytes or UTF-16 units),
    its occurrence nearest to the offset is taken; where the context doesn't hold it at all it is a mistake.
    """
    where, context, answers = question.where, question.context, question.answers
    if not context.strip():
        raise UserError(f"{where}: its context is empty")
    if not question.question.strip():
        raise UserError(f"{where}: the question is empty")
    impossible = question.impossible or (answers is not None and not answers and version2)
    if impossible and not version2:
        raise UserError(f"{where}: it has no answer, as SQuAD 2.0's may; --set task.version2=true")
    if answered and not impossible and not answers:
        raise UserError(f"{where}: it has no answer to learn from or to compare with; is this a test file?")
    label: Any = None
    texts: tuple[str, ...] = ()
    if impossible:
        label = ()
    elif answers:
        places = [locate(context, text, offset, where) for text, offset in answers]
        label, texts = places[0], tuple(text for text, _ in answers)
    fields = {"id": question.id, "answers": texts}
    return Record((question.question, context), label, fields, where)


def locate(context: str, text: str, offset: int, where: str) -> tuple[int, int]:
    """(begin, end) of the answer's occurrence nearest to its offset."""
    if not text.strip():
        raise UserError(f"{where}: an answer is empty")
    if not context.startswith(text, offset) or offset < 0:
        begin = context.find(text)
        found = []
        while begin >= 0:
            found.append(begin)
            begin = context.find(text, begin + 1)
        if not found:
            raise UserError(f"{where}: the answer {text!r} is not in its context")
        offset = min(found, key=lambda begin: abs(begin - offset))
    return offset, offset + len(text)
