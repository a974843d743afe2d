# SPDX-License-Identifier: Apache-2.0
"""config.json and the difference between two."""

import json
import math
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ssl_jax import config
from ssl_jax.types import UserError
from tests.config import kinds
from tests.config.kinds import Loop, Masking, Recipe, Steps, Unit, put


def through_json(value):
    text = json.dumps(config.to_json(value), allow_nan=False)
    return config.from_json(json.loads(text), extra_packages=(kinds.__name__,))


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    scalars
    | st.sampled_from(Unit)
    | st.builds(Steps, st.integers())
    | st.builds(Masking, rate=st.floats(0, 1)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.builds(Recipe, extra=inner, objective=inner),
    max_leaves=4,
)


@given(anything)
def test_config_json_round_trip(value):
    again = through_json(value)
    assert again == value
    assert repr(again) == repr(value)  # tells 1 from 1.0 and from True, and -0.0 from 0.0


def test_nan_survives_and_the_file_stays_json():
    assert math.isnan(through_json((math.nan,))[0])


def test_bound_fields_are_never_written():
    tree = config.to_json(Recipe(meta=object()))
    assert "meta" not in tree
    assert config.from_json(tree, extra_packages=(kinds.__name__,)).meta is None


@dataclass
class Thawed:
    x: int = 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda: 0, "extra: a function cannot be recorded"),
        ({"a": 1}, "extra: a dict cannot be recorded"),
        ([1], "extra: a list cannot be recorded"),
        (Thawed(), "extra: Thawed is not frozen"),
        ((1, ({},)), "extra.1.0: a dict"),
    ],
)
def test_what_cannot_be_recorded_is_named_by_its_path(value, said):
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        config.to_json(Recipe(extra=value))


def test_a_class_inside_a_function_cannot_be_recorded():
    @dataclass(frozen=True)
    class Inner:
        pass

    with pytest.raises(UserError, match="top of its module"):
        config.to_json(Inner())


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "ssl_jaxx.Evil",
        "subprocess.Popen",
        "tests.config.kinds.Recipe",
        "ssl_jax.types.UserError",  # ours, but no dataclass
        "ssl_jax.types.dataclass",  # a function
        "ssl_jax.config.record.importlib",  # a module
        "ssl_jax.config.recipes.Path",
        "ssl_jax.no_such_module.X",
        "ssl_jax..types.Mean",
        "ssl_jax",
        "",
    ],
)
def test_config_json_names_only_dataclasses_of_ours(path):
    with pytest.raises(UserError):
        config.from_json({"class": path})
    with pytest.raises(UserError):
        config.from_json({"enum": f"{path}.X"})


def test_a_foreign_class_is_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"tests.config.kinds.Steps is foreign.*--recipe FILE"):
        config.from_json({"class": f"{kinds.__name__}.Steps", "n": 1})


def test_a_class_that_our_module_only_imports_is_foreign(monkeypatch):
    monkeypatch.setattr("ssl_jax.types.Smuggled", Steps, raising=False)
    with pytest.raises(UserError, match="foreign"):
        config.from_json({"class": "ssl_jax.types.Smuggled", "n": 1})


def test_fields_of_another_version():
    tree = config.to_json(Loop())
    del tree["batch_size"]
    assert config.from_json(tree, (kinds.__name__,)) == Loop()  # lacks a field: the default
    with pytest.raises(UserError, match="unknown field speed"):
        config.from_json({**tree, "speed": 1}, (kinds.__name__,))
    with pytest.raises(UserError, match="field n is missing"):
        config.from_json({"class": f"{kinds.__name__}.Steps"}, (kinds.__name__,))
    with pytest.raises(UserError, match=r"objective \(Masking\): rate is 3"):
        config.from_json(
            {"class": f"{kinds.__name__}.Recipe", "objective": {**config.to_json(Masking()), "rate": 3}},
            (kinds.__name__,),
        )


# ---------------------------------------------------------------------------------------------- diff


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("seed=1", ("seed", 0, 1, "identity")),
        ("loop.log_every=5", ("loop.log_every", 10, 5, "free")),
        ("loop.num_steps=5", ("loop.duration.n", 10, 5, "branch")),
        ("loop.duration=Tokens(5)", ("loop.duration", "Steps(n=10)", "Tokens(n=5)", "branch")),
        ("mesh.data=2", ("mesh.data", -1, 2, "free")),
        ("mesh.axes=a,b", ("mesh.axes", "(data)", "(a, b)", "free")),
        ("mesh.seed_of_birth=2", ("mesh.seed_of_birth", 0, 2, "identity")),
        ("objective.unit=WORD", ("objective.unit", "TOKEN", "WORD", "identity")),
        ("extra=x", ("extra", None, "x", "identity")),
        ("source=Steps(2)", ("source", "a.txt", "Steps(n=2)", "identity")),
    ],
)
def test_diff_names_path_values_and_kind(text, change):
    new = put(text)
    assert config.diff(Recipe(), new) == [change]
    assert config.diff(config.to_json(Recipe()), new) == [change]


def test_diff_of_a_record_from_before_a_field_is_its_default():
    tree = config.to_json(Recipe())
    del tree["loop"]["log_every"]
    assert config.diff(tree, Recipe()) == []
    assert config.diff({**tree, "gone": 1}, Recipe()) == [("gone", 1, None, "identity")]


@given(anything, anything)
def test_diff_is_empty_exactly_where_the_records_are_equal(a, b):
    old, new = Recipe(extra=a), Recipe(extra=b)
    assert (config.diff(old, new) == []) == (config.to_json(old) == config.to_json(new))
