# SPDX-License-Identifier: Apache-2.0
"""README.md against what is there: the tree, the resume table, extras, the workdir, exit statuses."""

import copy
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ssl_jax import config, workdir
from ssl_jax.cli import main as cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAME = re.compile(r"`([^`]+)`")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(title: str, column: int = 0) -> set[str]:
    return {name for row in table(title) for name in NAME.findall(row[column])}


# ---------------------------------------------------------------------------------------------- tree


def tree() -> dict[str, str]:
    lines = section("The tree").split("```")[1].strip().splitlines()
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)


def test_every_path_of_the_tree_exists_and_is_what_it_looks_like():
    for path in tree():
        assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file(), path


def test_every_room_is_in_the_tree():
    rooms = {f"ssl_jax/{p.name}/" for p in (ROOT / "ssl_jax").iterdir() if (p / "__init__.py").exists()}
    modules = {f"ssl_jax/{p.name}" for p in (ROOT / "ssl_jax").glob("[a-z]*.py")}
    assert rooms | modules == {path for path in tree() if path.startswith("ssl_jax/")}


def test_linked_files_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_recipe_is_in_the_table():
    listed = {name.partition(":")[0] for name in names("Recipes")}
    assert listed == set(config.shipped())


# ------------------------------------------------------------------------------------- resume table

KINDS = ("free", "branch", "identity")  # the table's columns


def documented(path: str) -> str:
    """What the README's table says of a field."""
    top, _, rest = path.partition(".")
    rows = {NAME.findall(row[0])[0] if "`" in row[0] else "": row[1:] for row in table(SECTION)}
    for place, field in (("", top), (top, rest.partition(".")[0])):
        for kind, cell in zip(KINDS, rows.get(place, ())):
            if field in NAME.findall(cell):
                return kind
    every = [kind for kind, cell in zip(KINDS, rows[top]) if cell in ("all", "all others")]
    assert len(every) == 1, f"{path}: the row of {top} names neither it nor what all others are"
    return every[0]


SECTION = "What may change when a run resumes"


def leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The dotted paths of config.json down to scalars, enums and tuples."""
    if isinstance(tree, dict) and "class" in tree:
        inside = [leaves(value, (*path, name)) for name, value in tree.items() if name != "class"]
        return [path, *(leaf for each in inside for leaf in each)]
    return [path]


def kinds(experiment: Any) -> dict[str, str]:
    """Path -> kind, asked of config.diff by changing one recorded value at a time."""
    tree, found = config.to_json(experiment), {}
    for path in leaves(tree):
        if path:
            changed = copy.deepcopy(tree)
            place = changed
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = "something else"
            (change,) = config.diff(changed, experiment)
            assert change.path == ".".join(path)
            found[change.path] = change.kind
    return found


@pytest.mark.parametrize("reference", sorted(names("Recipes")))
def test_the_resume_table_is_what_happens(reference):
    found = kinds(config.load_recipe(reference)[0])
    sections = {"model", "objective", "text", "data", "optim", "loop"}  # in the table by their fields
    wrong = {
        path: (kind, documented(path))
        for path, kind in found.items()
        if path not in sections and kind != documented(path)
    }
    assert wrong == {}, "path: (what config.diff says, what README says)"


def test_the_resume_table_names_only_fields_that_exist():
    found = {path for reference in names("Recipes") for path in kinds(config.load_recipe(reference)[0])}
    for place, *cells in table(SECTION):
        prefix = "" if place == "top level" else NAME.findall(place)[0] + "."
        for cell in cells:
            for field in NAME.findall(cell):
                assert prefix + field in found


# ------------------------------------------------------------------------------------ smaller tables


def test_extras_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert names("Platforms and extras") == set(project["optional-dependencies"])


def test_the_workdirs_files_are_those_that_fresh_removes():
    ours = {*workdir.OURS, *(f"{name}/" for name in workdir.OURS_FOLDERS)}
    assert names("A workdir") == ours


def test_exit_statuses_are_those_of_the_help():
    said = set(re.findall(r"\b\d+\b", cli._EXIT_STATUS))
    assert {row[0] for row in table("Exit statuses")} == said


def test_commands_are_those_of_the_parser():
    shown = set(re.findall(r"^ssl-jax ([a-z-]+)", section("Commands"), re.MULTILINE))
    assert shown == set(cli.parser()._subparsers._group_actions[0].choices)


def test_make_has_the_targets_that_are_named():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", README, re.MULTILINE))
    for target in {a or b for a, b in named}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_what_is_not_measured_says_so():
    """Either a number stands before a marker, or the words; never an empty cell."""
    cells = re.findall(r"\|\s*([^|]*?)\s*<!-- measured: ([^>]+) -->", README)
    assert len(cells) == len({marker for _, marker in cells}) > 5
    assert [marker for value, marker in cells if not re.search(r"\d|not yet measured", value)] == []
