# SPDX-License-Identifier: Apache-2.0
"""Small files in SQuAD's schema."""

import gzip
import json
from pathlib import Path
from typing import Any

RIVERS = (
    "Rhine",
    "Danube",
    "Volga",
    "Ebro",
    "Thames",
    "Loire",
    "Elbe",
    "Tagus",
    "Po",
    "Neva",
    "Seine",
    "Oder",
)


def asked(number: Any, question: str, context: str, *answers: str, **more: Any) -> dict[str, Any]:
    found = [{"text": text, "answer_start": context.find(text)} for text in answers]
    return {"id": number, "question": question, "answers": found, **more}


def paragraph(i: int, *, version2: bool = False, tag: str = "") -> dict[str, Any]:
    """A river, its length and its city; in version 2 also a question that nothing answers."""
    river = RIVERS[i % len(RIVERS)]
    context = f" The {river} is {100 + 7 * i} miles long. It flows through City{i}, and then to the sea."
    qas = [
        asked(f"{tag}{i}a", f"How long is the {river}?", context, f"{100 + 7 * i} miles", f"{100 + 7 * i}"),
        asked(f"{tag}{i}b", f"Which city is on the {river}?", context, f"City{i}"),
    ]
    if version2:
        none = {
            "id": f"{tag}{i}c",
            "question": f"Who owns the {river}?",
            "answers": [],
            "is_impossible": True,
        }
        qas = [{**q, "is_impossible": False} for q in qas] + [none]
    return {"context": context, "qas": qas}


def tree(*paragraphs: dict[str, Any]) -> dict[str, Any]:
    half = len(paragraphs) // 2
    return {
        "version": "x",
        "data": [{"title": "t", "paragraphs": list(p)} for p in (paragraphs[:half], paragraphs[half:])],
    }


def write(path: Path, content: Any) -> Path:
    data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def corpus(folder: Path, *, train: int = 30, dev: int = 6, version2: bool = False) -> Path:
    name = "v2.0" if version2 else "v1.1"
    made = lambda numbers, tag: tree(*(paragraph(i, version2=version2, tag=tag) for i in numbers))
    write(folder / f"train-{name}.json", made(range(train), "t"))
    write(folder / f"dev-{name}.json.gz", made(range(train, train + dev), "d"))
    return folder
