# SPDX-License-Identifier: Apache-2.0
"""A corpus that every Python installation carries: `pydoc_data` and the standard library's docstrings."""

import ast
import gc
import hashlib
import inspect
import os
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssl_jax.data.readers import Input, Record
from ssl_jax.types import UserError

_SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3",
    "turtledemo",
}
_BODIES = ("body", "handlers", "orelse", "finalbody", "cases")
_MIN_CHARS = 200  # a module whose docstrings say less than that has no prose to learn from


class PythonDocsInput:
    """A document a topic of the language reference and a module; paragraphs stay apart by blank lines."""

    name = "python-docs"
    size = 2.5e6

    def __init__(self) -> None:
        self._root = Path(sysconfig.get_path("stdlib"))
        self._texts: list[str] | None = None  # parsing takes seconds, and preparing reads a source thrice

    def identity(self) -> list[Any]:
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(path.relative_to(self._root).as_posix().encode() + b"\0" + path.read_bytes())
        return ["python-docs", platform.python_version(), digest.hexdigest()]

    def cut(self, count: int) -> tuple[Input, ...]:
        return (self,)  # it is small

    def records(self, start: int = 0) -> Iterator[Record]:
        if self._texts is None:
            collecting = gc.isenabled()
            gc.disable()  # half the time would go into looking for garbage among millions of syntax nodes
            try:
                self._texts = list(self._documents())
            finally:
                if collecting:
                    gc.enable()
        return iter(self._texts[start:])

    def _files(self) -> list[Path]:
        files = []
        for folder, inner, names in os.walk(self._root):
            inner[:] = [name for name in inner if name not in _SKIPPED and not name.startswith("config-")]
            names = [name for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")]
            files += [Path(folder) / name for name in names]
        if not files:
            raise UserError(
                f"python-docs: no standard library at {self._root}; set data.source to a text of yours"
            )
        return sorted(files, key=lambda path: path.relative_to(self._root).as_posix())

    def _documents(self) -> Iterator[str]:
        for path in self._files():
            text = path.read_text(encoding="utf-8", errors="replace")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in old modules
                try:
                    tree = ast.parse(text)
                except SyntaxError:
                    continue
            if path.parent.name == "pydoc_data" and path.name == "topics.py":
                yield from _topics(tree)
            elif len(document := "\n\n".join(_docstrings(tree))) >= _MIN_CHARS:
                yield document


def _topics(tree: ast.Module) -> Iterator[str]:
    """The values of the one dictionary in pydoc_data/topics.py, in its own (alphabetical) order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield inspect.cleandoc(value.value)
            return


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of the module, its classes and functions, in the order of the source."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.strip():
                yield text.strip()
        # Definitions are statements within statements; the many expressions hold none.
        inner = [n for name in _BODIES for n in getattr(node, name, ())]
        stack.extend(n for n in reversed(inner) if isinstance(n, ast.AST))
