# SPDX-License-Identifier: Apache-2.0
"""docs/adding-an-objective.md: its code runs as it stands, as new files only."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.objectives.conformance import CHECKS

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```python title="(?P<title>[^"]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
TEXT = (ROOT / "docs" / "adding-an-objective.md").read_text(encoding="utf-8")
FILES = {match["title"]: match["code"] for match in BLOCK.finditer(TEXT)}
OBJECTIVE, TEST, RECIPE = (
    "ssl_jax/objectives/cbow.py",
    "tests/objectives/test_cbow.py",
    "configs/cbow_tiny.py",
)


def load(name: str, file: Path):
    """The file as the module `name`, from wherever it lies."""
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The three files beside the tree, importable as if they lay in it; the tree itself stays as it is."""
    folder = tmp_path_factory.mktemp("cbow")
    names = {}
    for title, code in FILES.items():
        file = folder / Path(title).name
        file.write_text(code, encoding="utf-8")
        names[title] = (title.removesuffix(".py").replace("/", "."), file)
    loaded = {title: load(*names[title]) for title in (OBJECTIVE, TEST)}
    yield loaded | {RECIPE: names[RECIPE][1]}
    for name, _ in names.values():
        sys.modules.pop(name, None)


def test_all_files_are_new_ones():
    assert set(FILES) == {OBJECTIVE, TEST, RECIPE}
    assert not [title for title in FILES if (ROOT / title).exists()]
    assert not [
        file
        for folder in ("ssl_jax", "configs")
        for file in (ROOT / folder).rglob("*.py")
        if "cbow" in file.read_text(encoding="utf-8").lower()
    ], "no other file knows of it"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_objective_keeps_the_contract(modules, check):
    modules[TEST].test_conformance(check)


def test_its_own_test_passes(modules):
    modules[TEST].test_a_bag_holds_its_neighbours_and_no_other_document()


def test_the_recipe_builds(modules):
    from ssl_jax.config import load_recipe

    experiment = load_recipe(str(modules[RECIPE]))
    assert type(experiment.objective).__name__ == "Cbow"


def test_lines_fit_the_projects_style():
    too_long = [line for code in FILES.values() for line in code.splitlines() if len(line) > 110]
    assert not too_long
