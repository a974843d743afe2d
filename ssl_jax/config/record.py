# SPDX-License-Identifier: Apache-2.0
"""``config.json``: an Experiment as JSON and back, and the difference between two.

A dataclass is ``{"class": "ssl_jax.models.bert.BertConfig", field: value, ...}``, an enum
``{"enum": "module.Class.NAME"}``, a tuple a list, a float that JSON lacks ``{"float": "inf"}``.  Reading runs
nothing but the classes named, and takes only classes under ``ssl_jax.`` or a package that the user named.
"""

import dataclasses
import enum
import importlib
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from ssl_jax.types import UserError

_trusted: set[str] = set()
_MARKS = ("identity", "branch", "free")


class Change(NamedTuple):
    """One difference.  old, new: a scalar, or an object as text; kind: "identity", "branch" or "free"."""

    path: str
    old: Any
    new: Any
    kind: str


def trust(package: str) -> None:
    """From now on, in this process, config.json may name classes of `package` (the user named it)."""
    _trusted.add(package)


def recorded_fields(obj: Any) -> list[dataclasses.Field]:
    """The fields of a dataclass (or its class) that config.json and --set know."""
    return [f for f in dataclasses.fields(obj) if f.init and not f.metadata.get("bound")]


# ------------------------------------------------------------------------------------------- writing


def to_json(value: Any, path: str = "") -> Any:
    """`value` (an Experiment, or anything reachable from one) as what `json.dumps` takes.

    Raises UserError naming the path of anything that is no frozen dataclass, scalar, enum or tuple.
    """
    if isinstance(value, enum.Enum):
        return {"enum": f"{_class_path(type(value), path)}.{value.name}"}
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, tuple):
        return [to_json(item, f"{path}.{i}".lstrip(".")) for i, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not type(value).__dataclass_params__.frozen:
            raise UserError(
                f"{path or 'config'}: {type(value).__name__} is not frozen; say @dataclass(frozen=True)"
            )
        tree = {"class": _class_path(type(value), path)}
        for f in recorded_fields(value):
            tree[f.name] = to_json(getattr(value, f.name), f"{path}.{f.name}".lstrip("."))
        return tree
    raise UserError(
        f"{path or 'config'}: a {type(value).__name__} cannot be recorded; "
        "a recipe holds frozen dataclasses, numbers, strings, None, enums and tuples of these"
    )


def _class_path(cls: type, path: str) -> str:
    if cls.__qualname__ != cls.__name__:
        raise UserError(
            f"{path or 'config'}: class {cls.__qualname__} must be defined at the top of its module"
        )
    return f"{cls.__module__}.{cls.__name__}"


# ------------------------------------------------------------------------------------------- reading


def from_json(tree: Any, extra_packages: Iterable[str] = (), path: str = "") -> Any:
    """What `to_json` was given, equal to it.

    A field that the record lacks takes its class's default (the record is from before the field); one
    that the class lacks is a UserError, and so is a class outside ssl_jax and the trusted packages.
    """
    packages = tuple(extra_packages)
    if isinstance(tree, list):
        return tuple(from_json(item, packages, f"{path}.{i}".lstrip(".")) for i, item in enumerate(tree))
    if not isinstance(tree, dict):
        return tree
    where = path or "config"
    match tree:
        case {"float": "inf" | "-inf" | "nan" as text}:
            return float(text)
        case {"enum": str(text)}:
            class_path, _, name = text.rpartition(".")
            cls = _resolve(class_path, packages, where)
            if not issubclass(cls, enum.Enum) or name not in cls.__members__:
                raise UserError(f"{where}: {text} is unknown to this version of ssl_jax")
            return cls[name]
        case {"class": str(class_path)}:
            return _build(_resolve(class_path, packages, where), tree, packages, path)
    raise UserError(f"{where}: neither a class nor an enum is named here")


def _build(cls: type, tree: dict[str, Any], packages: tuple[str, ...], path: str) -> Any:
    where = f"{path or 'config'} ({cls.__name__})"
    if not dataclasses.is_dataclass(cls):
        raise UserError(f"{where} is not a dataclass")
    fields = {f.name: f for f in recorded_fields(cls)}
    unknown = [name for name in tree if name != "class" and name not in fields]
    if unknown:
        raise UserError(
            f"{where}: unknown field {', '.join(unknown)}; it was written by another version of ssl_jax"
        )
    missing = [name for name, f in fields.items() if name not in tree and _default(f) is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where}: field {', '.join(missing)} is missing, and has no default")
    values = {
        name: from_json(tree[name], packages, f"{path}.{name}".lstrip(".")) for name in fields if name in tree
    }
    try:
        return cls(**values)
    except (ValueError, TypeError, UserError) as error:
        raise UserError(f"{where}: {error}") from error


def _resolve(class_path: str, packages: tuple[str, ...], where: str) -> type:
    module_name, _, name = class_path.rpartition(".")
    foreign = UserError(
        f"{where}: class {class_path} is foreign to ssl_jax; name the file that defines it: --recipe FILE"
    )
    if not _allowed(module_name, packages) or not all(p.isidentifier() for p in class_path.split(".")):
        raise foreign
    try:
        cls = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        raise UserError(f"{where}: class {class_path} is unknown to this version of ssl_jax") from None
    if not isinstance(cls, type) or not (dataclasses.is_dataclass(cls) or issubclass(cls, enum.Enum)):
        raise UserError(f"{where}: {class_path} is neither a dataclass nor an enum")
    if not _allowed(cls.__module__, packages):  # what a module of ours merely imports
        raise foreign
    return cls


def _allowed(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in ("ssl_jax", *_trusted, *packages))


def _default(f: dataclasses.Field) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


# ----------------------------------------------------------------------------------------- comparing


def diff(old: Any, new: Any) -> list[Change]:
    """What differs.  old: an Experiment or its JSON (which needs no class resolved); new: an Experiment."""
    tree = old if isinstance(old, dict) else to_json(old)
    return list(_diff(tree, new, "", "identity"))


def _diff(old: Any, new: Any, path: str, kind: str) -> Iterable[Change]:
    tree = to_json(new, path)
    if old == tree:
        return
    is_object = isinstance(old, dict) and isinstance(tree, dict) and "class" in tree
    if is_object and old.get("class") == tree["class"]:
        fields = {f.name: f for f in recorded_fields(new)}
        for name, f in fields.items():
            marks = [mark for mark in _MARKS if f.metadata.get(mark)]
            default = None if _default(f) is dataclasses.MISSING else _default(f)
            before = old[name] if name in old else to_json(default)  # as `from_json` reads it
            yield from _diff(before, getattr(new, name), f"{path}.{name}".lstrip("."), *(marks[:1] or [kind]))
        for name in old.keys() - fields.keys() - {"class"}:
            yield Change(f"{path}.{name}".lstrip("."), show(old[name]), None, kind)
    else:
        yield Change(path, show(old), show(tree), kind)


def show(tree: Any) -> Any:
    """JSON of `to_json` for people: scalars as they are, the rest as the text of a constructor call."""
    if isinstance(tree, list):
        return "(" + ", ".join(str(show(item)) for item in tree) + ")"
    if not isinstance(tree, dict):
        return tree
    if "class" in tree:
        inside = ", ".join(f"{name}={show(value)}" for name, value in tree.items() if name != "class")
        return f"{tree['class'].rpartition('.')[2]}({inside})"
    if "enum" in tree:
        return tree["enum"].rpartition(".")[2]
    return tree.get("float")
