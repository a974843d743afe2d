# SPDX-License-Identifier: Apache-2.0
"""Recipes: files, functions, mistakes, and all that are shipped."""

import json

import pytest

from ssl_jax import config
from ssl_jax.types import UserError
from tests.config import kinds
from tests.config.kinds import Recipe

GOOD = f"""
from dataclasses import dataclass
from {kinds.__name__} import Recipe

@dataclass(frozen=True)
class Own:
    x: int = 1

def config():
    return Recipe(seed=3)

def phase2():
    return Recipe(seed=4, extra=Own())
"""


@pytest.fixture
def recipe(tmp_path):
    def make(text: str, name: str = "mine.py"):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return str(file)

    return make


def test_recipe_file_and_function(recipe):
    file = recipe(GOOD)
    assert config.load_recipe(file, Recipe) == (Recipe(seed=3), GOOD, "mine")
    experiment, source, name = config.load_recipe(f"{file}:phase2")
    assert (experiment.seed, source, name) == (4, GOOD, "mine-phase2")


def test_a_recipes_own_class_is_recorded_and_read_once_its_file_was_named(recipe):
    experiment, _, _ = config.load_recipe(recipe(GOOD, "owner.py") + ":phase2")
    tree = config.to_json(experiment)
    assert tree["extra"]["class"] == "recipe_owner.Own"
    assert config.from_json(tree, (kinds.__name__,)) == experiment
    with pytest.raises(UserError, match="--recipe FILE"):
        config.from_json({"class": "recipe_never_named.Own"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def config(:\n", "mine.py:1: "),
        ("x = 1\ny = 1 / 0\n", "mine.py:2: ZeroDivisionError: division by zero"),
        ("import no_such_thing\n", "mine.py:1: ModuleNotFoundError"),
        (
            f"from {kinds.__name__} import Masking\n\ndef config():\n    return Masking(rate=2)\n",
            "mine.py:4: ValueError: rate is 2",
        ),
        ("def config():\n    return 1\n", "config() returned int, not Recipe"),
        (
            f"from {kinds.__name__} import Recipe\ndef config():\n    return Recipe(extra=[])\n",
            "config(): extra: a list",
        ),
        ("def cofig():\n    return 1\n", "has no function config(); did you mean cofig?"),
        ("def other():\n    return 1\n", "it has: other"),
        ("raise SystemExit(0)\n", "mine.py:1: SystemExit"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line_with_file_and_line(recipe, text, said):
    with pytest.raises(UserError) as caught:
        config.load_recipe(recipe(text), Recipe)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_lists_its_neighbours(recipe, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe(GOOD)
    with pytest.raises(UserError, match=r"no recipe mine; did you mean mine\.py"):
        config.load_recipe("mine")
    with pytest.raises(UserError, match=r"did you mean \S*mine\.py"):
        config.load_recipe(str(tmp_path / "mime.py"))
    with pytest.raises(UserError, match="is a folder"):
        config.load_recipe(str(tmp_path))


SHIPPED = config.shipped()
PROMISED = {  # names that scripts rely on
    "seed",
    "data.source",
    "data.text_key",
    "data.store",
    "loop.duration",
    "loop.num_steps",
    "checkpoint.every",
    "optim.peak_lr",
    "mesh.fsdp",
}


def test_there_are_shipped_recipes():
    assert "bert_tiny" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_by_bare_name_and_round_trip(name, monkeypatch, tmp_path):
    from ssl_jax.experiment import Experiment, Suite

    monkeypatch.chdir(tmp_path)
    text = SHIPPED[name].read_text(encoding="utf-8")
    functions = [line[4:].partition("(")[0] for line in text.splitlines() if line.startswith("def ")]
    for function in functions:
        if function.startswith("_"):
            continue
        recipe, source, _ = config.load_recipe(f"{name}:{function}", (Experiment, Suite))
        assert source == text
        experiment = recipe.members[0].experiment if isinstance(recipe, Suite) else recipe
        again = config.from_json(json.loads(json.dumps(config.to_json(experiment))))
        assert again == experiment
        assert config.diff(experiment, again) == []
        paths = set(config.settable(experiment))
        assert paths >= PROMISED
        assert not any("meta" in path.split(".") for path in paths)
