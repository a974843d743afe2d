# SPDX-License-Identifier: Apache-2.0
"""docs/adding-an-objective.md: its code runs as it stands, as new files only."""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
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

    experiment = load_recipe(str(modules[RECIPE]))[0]
    assert type(experiment.objective).__name__ == "Cbow"


@pytest.mark.slow
def test_the_command_trains_with_it(tmp_path):
    """In a copy of the tree with the three files added and none changed."""
    for folder in ("ssl_jax", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for title, code in FILES.items():
        (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / title).write_text(code, encoding="utf-8")
    sizes = ("model.dim=32", "objective.centres=16", "text.tokenizer.vocab_size=1000", "loop.num_steps=150")
    command = [sys.executable, "-m", "ssl_jax", "pretrain", RECIPE, "--workdir", "run"]
    command += [word for size in sizes for word in ("--set", size)]
    environment = os.environ | {"SSL_JAX_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    heldout = [line["heldout/cbow"] for line in lines if "heldout/cbow" in line]
    assert heldout[0] == pytest.approx(math.log(1000), abs=0.01)
    assert heldout[-1] < heldout[0] - 0.1


def test_lines_fit_the_projects_style():
    too_long = [line for code in FILES.values() for line in code.splitlines() if len(line) > 110]
    assert not too_long
