# SPDX-License-Identifier: Apache-2.0
"""The text after ``--set path=`` as a value of the field's type.

Nothing is evaluated.  An object, ``Cosine(warmup=100)``, is a call of a dataclass that belongs to the field:
one from the module, or its package, of the field's type or of the object that the field holds.
"""

import dataclasses
import difflib
import enum
import importlib
import math
import re
import types
import typing
from typing import Any

from ssl_jax.config.record import recorded_fields
from ssl_jax.types import UserError

_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([kKMGBT]?)")
_SCALE = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_BOOLS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\(.*\)\s*", re.DOTALL)


class _Mismatch(Exception):
    """The text is no value of this type; the message says what would be."""


def parse(text: str, annotation: Any, current: Any, path: str) -> Any:
    """`text` as a value of `annotation`; current: what the field holds (its module offers the classes).

    Numbers: ``1e3``, ``64k``, ``2M``, ``1_000`` (an int must come out whole).  Booleans: true or false.
    Enums and literals by name.  ``none``.  Tuples as ``a,b`` or ``(a, b)``.
    """
    try:
        return _parse(text, annotation, current)
    except _Mismatch as error:
        raise UserError(f"--set {path}={text}: {error}") from None


def _parse(text: str, annotation: Any, current: Any) -> Any:
    annotation = _plain(annotation)
    origin = typing.get_origin(annotation)
    if annotation is Any or isinstance(annotation, typing.TypeVar):
        return _guess(text, current)
    if origin in (typing.Union, types.UnionType):
        return _first_of(text, typing.get_args(annotation), current)
    if origin is typing.Literal:
        return _one_of(text, {str(value): value for value in typing.get_args(annotation)})
    if annotation is tuple or origin is tuple:
        return _tuple(text, typing.get_args(annotation), current)
    if annotation is None or annotation is type(None):
        if text.lower() in ("none", "null"):
            return None
        raise _Mismatch("expected none")
    if annotation is bool:
        if text.lower() in _BOOLS:
            return _BOOLS[text.lower()]
        raise _Mismatch("expected true or false")
    if annotation is int:
        return _int(text)
    if annotation is float:
        return _float(text)
    if annotation is str:
        return _string(text)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum(text, annotation)
    return _object(text, annotation, current)


def _plain(annotation: Any) -> Any:
    """Without Annotated, Final, and new names for types."""
    while True:
        if typing.get_origin(annotation) in (typing.Annotated, typing.Final):
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        else:
            return annotation


def _int(text: str) -> int:
    match = _NUMBER.fullmatch(text)
    if not match:
        raise _Mismatch("expected a whole number, like 200, 64k or 1e6")
    digits, suffix = match.groups()
    try:
        return int(digits) * _SCALE[suffix]
    except ValueError:
        value = float(digits) * _SCALE[suffix]
        whole = round(value)
        if not math.isfinite(value) or abs(value - whole) > 1e-9 * abs(value):
            raise _Mismatch("expected a whole number") from None
        return whole


def _float(text: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match:
        digits, suffix = match.groups()
        return float(digits) * _SCALE[suffix] if suffix else float(digits)
    if text.lower().lstrip("+-") in ("inf", "nan"):
        return float(text)
    raise _Mismatch("expected a number")


def _string(text: str) -> str:
    """As typed; quotes around the whole go (they keep "none" or "1,2" a string)."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _enum(text: str, cls: type[enum.Enum]) -> enum.Enum:
    names = {name.lower(): member for name, member in cls.__members__.items()}
    return _one_of(text.removeprefix(f"{cls.__name__}.").lower(), names, list(cls.__members__))


def _one_of(text: str, values: dict[str, Any], names: list[str] | None = None) -> Any:
    text = _string(text)
    if text not in values:
        raise _Mismatch(f"expected {' or '.join(names or values)}")
    return values[text]


def _first_of(text: str, members: tuple[Any, ...], current: Any) -> Any:
    """The first member of a union that takes the text; str last, since it takes anything."""

    def order(member: Any) -> int:
        ranks = {type(None): 0, bool: 1, int: 2, float: 3, str: 9}
        return ranks.get(member, 4)

    expected = []
    for member in sorted(members, key=order):
        if member is int and float in members and re.search(r"[.]|e-", text, re.IGNORECASE):
            continue  # 1.0 is a float where both are taken: a fraction, not a count
        if member is str and _names_class(text, members, current):
            continue
        try:
            return _parse(text, member, current)
        except _Mismatch as error:
            expected.append(str(error).removeprefix("expected "))
    raise _Mismatch("expected " + " or ".join(dict.fromkeys(expected)))


def _names_class(text: str, members: tuple[Any, ...], current: Any) -> bool:
    match = _CALL.fullmatch(text)
    return bool(match) and any(match[1] in _classes(member, current) for member in members)


def _guess(text: str, current: Any) -> Any:
    """A field of type Any: as the present value's type, otherwise as what the text looks like."""
    if _is_object(current):
        return _parse(text, type(current), current)
    if isinstance(current, (bool, int, float, str, enum.Enum)):
        return _parse(text, type(current), current)
    return _first_of(text, (type(None), bool, int, float, str), None)


# ------------------------------------------------------------------------------------ tuples, objects


def _tuple(text: str, members: tuple[Any, ...], current: Any) -> tuple[Any, ...]:
    inner = text[1:-1] if text[:1] + text[-1:] in ("()", "[]") else text
    items = _split(inner)
    if len(members) == 2 and members[1] is Ellipsis:
        types_ = (members[0],) * len(items)
    else:
        types_ = members or (Any,) * len(items)
    if len(types_) != len(items):
        raise _Mismatch(f"expected {len(types_)} values between commas")
    sample = current[0] if isinstance(current, tuple) and current else None
    return tuple(_parse(item, type_, sample) for item, type_ in zip(items, types_))


def _split(text: str) -> list[str]:
    """At the commas outside brackets and quotes; one trailing comma is allowed."""
    items, depth, quote, item = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        if letter == "," and not depth and not quote:
            items.append(item.strip())
            item = ""
        else:
            item += letter
    return items + ([item.strip()] if item.strip() else [])


def _is_object(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _classes(annotation: Any, current: Any) -> dict[str, type]:
    """Name -> dataclass that the field may hold."""
    bound = annotation if _is_dataclass(annotation) else object
    modules = set()
    for cls in (annotation, type(current)):
        if _is_dataclass(cls):
            modules |= {cls.__module__, cls.__module__.rpartition(".")[0]} - {"", "ssl_jax"}
    return {
        cls.__name__: cls
        for module in sorted(modules)
        for cls in vars(importlib.import_module(module)).values()
        if _is_dataclass(cls) and issubclass(cls, bound) and cls.__module__.startswith(tuple(modules))
    }


def _is_dataclass(value: Any) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value)


def _object(text: str, annotation: Any, current: Any) -> Any:
    classes = _classes(annotation, current)
    match = _CALL.fullmatch(text)
    if not match:
        message = f"expected an object, as in {next(iter(classes), 'Name')}(field=value)"
        if _is_object(current):
            message += f", or set its fields: {', '.join(f.name for f in recorded_fields(current))}"
        raise _Mismatch(message)
    if match[1] not in classes:
        close = difflib.get_close_matches(match[1], classes, 1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(sorted(classes))}"
        raise _Mismatch(f"no class {match[1]} here; {hint}")
    return _construct(classes[match[1]], text, current)


def _construct(cls: type, text: str, current: Any) -> Any:
    """Class(a, b=c) with every argument read by its field's type."""
    inner = text.strip()[len(cls.__name__) :].strip()
    fields = {f.name: f for f in recorded_fields(cls)}
    positional = [name for name, f in fields.items() if not f.kw_only] or list(fields)
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for i, item in enumerate(_split(inner[1:-1]) if inner else []):
        named = re.match(r"([A-Za-z_]\w*)\s*=(?!=)\s*(.*)", item, re.DOTALL)
        if not named and i >= len(positional):
            raise _Mismatch(f"{cls.__name__} takes {len(positional)} values")
        name, value = named.groups() if named else (positional[i], item)
        if name not in fields:
            raise _Mismatch(f"{cls.__name__} has no field {name}; it has: {', '.join(fields)}")
        present = getattr(current, name, None) if type(current) is cls else current
        values[name] = _parse(value, hints.get(name, Any), present)
    try:
        return cls(**values)
    except TypeError as error:
        raise _Mismatch(str(error).replace(f"{cls.__name__}.__init__()", cls.__name__)) from None
