# SPDX-License-Identifier: Apache-2.0
"""``--set a.b=c``: dotted changes to an Experiment, checked against the types of its dataclasses.

``optim.peak_lr=1e-4``, ``data.source=books/*.txt``, ``objective.masking.unit=WORD``,
``data.source.sources.0.weight=2``, ``loop.duration=Tokens(2M)`` (an object: see values.py).
"""

import contextlib
import dataclasses
import difflib
import inspect
import typing
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ssl_jax.config.record import recorded_fields
from ssl_jax.config.values import parse
from ssl_jax.types import UserError


class _Set(NamedTuple):
    """One --set below some object: the names still to walk, the value's text, the option as typed."""

    names: tuple[str, ...]
    text: str
    path: str

    def __str__(self) -> str:
        return f"--set {self.path}={self.text}"


def apply_sets(experiment: Any, sets: Sequence[str]) -> Any:
    """`experiment` with every ``path=value`` of `sets` applied; the last one wins.

    All fields of one dataclass change at once, so that its own checks see only the final state.  Raises
    UserError for an unknown path (with its neighbours), a value of another type, what a check refuses.
    """
    changes = []
    for text in sets:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not path:
            raise UserError(f"--set {text}: say it as --set path=value, as in --set optim.peak_lr=1e-4")
        changes.append(_Set(tuple(path.split(".")), value.strip(), path))
    return _apply(experiment, changes, experiment)


def settable(obj: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted path that --set knows, aliases included."""
    for name in _names(obj):
        yield prefix + name
        if not name.isdigit() and name in aliases(obj):
            continue
        value = _child(obj, name)
        if _is_section(value):
            yield from settable(value, f"{prefix}{name}.")


def aliases(obj: Any) -> dict[str, Any]:
    return getattr(type(obj), "set_aliases", {})


def _is_section(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(_is_section(item) for item in value)
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _names(obj: Any) -> list[str]:
    if isinstance(obj, tuple):
        return [str(i) for i in range(len(obj))]
    return [f.name for f in recorded_fields(obj)] + list(aliases(obj))


def _child(obj: Any, name: str) -> Any:
    return obj[int(name)] if isinstance(obj, tuple) else getattr(obj, name)


def _apply(obj: Any, changes: Sequence[_Set], whole: Any) -> Any:
    """`obj` with the changes made; whole serves the messages."""
    fields: dict[str, list[_Set]] = {}
    for change in changes:
        name = change.names[0]
        if not _is_section(obj) or name not in _names(obj):
            raise UserError(_unknown(whole, change.path))
        if not isinstance(obj, tuple) and name in aliases(obj):
            if len(change.names) > 1:
                raise UserError(_unknown(whole, change.path))
            obj, fields = _with(obj, fields, whole), {}
            with _refusals([change]):
                obj = _call_alias(obj, change)
        else:
            fields.setdefault(name, []).append(change)
    return _with(obj, fields, whole)


def _with(obj: Any, fields: dict[str, list[_Set]], whole: Any) -> Any:
    values = {name: _value(obj, name, changes, whole) for name, changes in fields.items()}
    if not values:
        return obj
    if isinstance(obj, tuple):
        return tuple(values.get(str(i), item) for i, item in enumerate(obj))
    with _refusals([change for changes in fields.values() for change in changes]):
        return dataclasses.replace(obj, **values)


def _value(obj: Any, name: str, changes: list[_Set], whole: Any) -> Any:
    """What the field holds after its changes, given in order."""
    value, inside = _child(obj, name), []
    for change in changes:
        if len(change.names) > 1:
            inside.append(change._replace(names=change.names[1:]))
        else:
            with _refusals([change]):
                value, inside = parse(change.text, _annotation(obj, name), value, change.path), []
    return _apply(value, inside, whole) if inside else value


@contextlib.contextmanager
def _refusals(changes: Sequence[_Set]) -> Iterator[None]:
    """What a dataclass's own checks say, with the options that caused it."""
    try:
        yield
    except (ValueError, TypeError, UserError) as error:
        message = str(error)
        if not message.startswith("--set "):
            message = f"{' '.join(map(str, changes))}: {message}"
        raise UserError(message) from error


def _call_alias(obj: Any, change: _Set) -> Any:
    function = aliases(obj)[change.names[0]]
    annotation = list(inspect.signature(function).parameters.values())[1].annotation
    known = Any if annotation is inspect.Parameter.empty else annotation
    return function(obj, parse(change.text, known, None, change.path))


def _annotation(obj: Any, name: str) -> Any:
    if isinstance(obj, tuple):
        return type(obj[int(name)])
    try:
        return typing.get_type_hints(type(obj))[name]
    except NameError:  # a name that only a type checker sees
        return Any


def _unknown(whole: Any, path: str) -> str:
    """One line: the nearest settable paths, and what the deepest existing section holds."""
    known = list(settable(whole))
    last = path.rpartition(".")[2]
    ends = {}
    for candidate in known:
        ends.setdefault(candidate.rpartition(".")[2], []).append(candidate)
    close = difflib.get_close_matches(path, known, 3, 0.85)
    for end in [last] if last in ends else difflib.get_close_matches(last, ends, 2, 0.75):
        close += [candidate for candidate in ends[end] if candidate not in close]
    section, here = whole, ""
    for name in path.split("."):
        if not _is_section(section) or name not in _names(section):
            break
        if not isinstance(section, tuple) and name in aliases(section):
            break
        section, here = _child(section, name), f"{here}.{name}".lstrip(".")
    if not _is_section(section):
        value = "None in this recipe" if section is None else f"of type {type(section).__name__}"
        message = f"--set {path}: {here} is {value} and has no fields"
    else:
        message = f"--set {path}: no such field"
        if not close or here:
            message += f"; {here or 'a recipe'} has: {', '.join(_names(section))}"
    return message + (f"; did you mean {' or '.join(close[:3])}?" if close else "")
