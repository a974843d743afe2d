# SPDX-License-Identifier: Apache-2.0
"""The model card: README.md with the front matter that the hub reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from ssl_jax.hf.families import Use


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card tells.  name: of the model; use: what it is for; example: a text to try it on, with its
    mask if it fills masks; parameters: how many; recipe: the run's config.json; trained: what was seen, one
    fact a key; measured: metric -> value; curve: of the training loss, as text; sources: data sets of the hub
    among its data; hashes: what -> sha256; notes: for whoever tokenizes."""

    name: str
    use: Use
    architecture: str
    language: tuple[str, ...]
    licence: str
    example: str
    parameters: int
    mask: str | None = None
    labels: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None = None
    trained: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    curve: str = ""
    sources: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def card(facts: Facts) -> str:
    return "\n".join(
        [
            *_front_matter(facts),
            f"# {facts.name}",
            "",
            f"A `{facts.architecture}` of {facts.parameters / 1e6:,.1f} M parameters, trained with ssl_jax.",
            "",
            *_use(facts),
            *_section("Training", _table(("", ""), facts.trained)),
            *_section("Loss", ["```", facts.curve, "```"] if facts.curve else []),
            *_section("Scores", _table(("metric", "value"), _numbers(facts.measured))),
            *_section("Recipe", _recipe(facts)),
            *_section("Hashes", _table(("of", "sha256"), {k: f"`{v}`" for k, v in facts.hashes.items()})),
        ]
    )


def _front_matter(facts: Facts) -> list[str]:
    """JSON's strings are YAML's, so that no name can break out of its line."""
    quoted = json.dumps
    lines = ["---", "language:", *(f"- {quoted(code)}" for code in facts.language)]
    lines += [f"license: {quoted(facts.licence)}", "library_name: transformers"]
    lines += [f"pipeline_tag: {facts.use.pipeline}"]
    if facts.sources:
        lines += ["datasets:", *(f"- {quoted(name)}" for name in facts.sources)]
    if facts.mask is not None and facts.use.pipeline == Use.MASKED.value:
        lines += [f"mask_token: {quoted(facts.mask)}"]
    if facts.example:
        lines += ["widget:", f"- text: {quoted(facts.example, ensure_ascii=False)}"]
    return [*lines, "tags:", "- ssl_jax", "- jax", "---", ""]


def _use(facts: Facts) -> list[str]:
    text = json.dumps(facts.example, ensure_ascii=False)
    if facts.use is Use.SPANS:
        code = [
            "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
            "",
            f'model = AutoModelForQuestionAnswering.from_pretrained("{facts.name}")',
        ]
    else:
        code = [
            "from transformers import pipeline",
            "",
            f'pipe = pipeline("{facts.use.pipeline}", model="{facts.name}")',
            f"print(pipe({text}))",
        ]
    labels = [f"Labels: {', '.join(facts.labels)}.", ""] if facts.labels else []
    notes = [line for note in facts.notes for line in (note, "")]
    return ["## Use", "", "```python", *code, "```", "", *labels, *notes]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []


def _table(header: tuple[str, str], rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    return [f"| {header[0]} | {header[1]} |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]


def _numbers(measured: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in measured.items()}


def _recipe(facts: Facts) -> list[str]:
    if facts.recipe is None:
        return []
    return ["```json", json.dumps(without_places(facts.recipe), indent=1, ensure_ascii=False), "```"]


def without_places(tree: Any) -> Any:
    """A config.json whose strings name no folder of the machine: a path keeps its last part alone."""
    if isinstance(tree, dict):
        return {name: without_places(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [without_places(item) for item in tree]
    if isinstance(tree, str) and not tree.startswith(("tfds:", "hf:")) and ("/" in tree or "\\" in tree):
        return PurePath(tree.replace("\\", "/")).name
    return tree
