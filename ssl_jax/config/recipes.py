# SPDX-License-Identifier: Apache-2.0
"""Recipes: Python files whose ``config()`` returns an Experiment.

A recipe is the user's own code, named on the command line and run as such; nothing else ever runs one.
"""

import difflib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from ssl_jax.config.record import to_json, trust
from ssl_jax.types import Failure, UserError


def load_recipe(reference: str, expect: type | tuple[type, ...] = object) -> tuple[Any, str, str]:
    """(Experiment, source text, name) of ``file.py``, ``file.py:function`` or a shipped recipe's name.

    The name is ``bert_base`` or ``bert_base-phase2``: the last part of the default workdir.  A mistake in
    the recipe becomes a one-line UserError with file and line, whose __cause__ keeps the traceback.
    expect: the class or classes of which one must be returned (this module may not import Experiment).
    """
    where, _, function = reference.partition(":")
    file = find(where)
    module, source = _run(file)
    function = function or "config"
    make = getattr(module, function, None)
    if not inspect.isfunction(make):
        names = _functions(module)
        close = difflib.get_close_matches(function, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(names) or 'no function'}"
        raise UserError(f"{file} has no function {function}(); {hint}")
    experiment = _guarded(file, make)
    if not isinstance(experiment, expect):
        wanted = " or ".join(c.__name__ for c in (expect if isinstance(expect, tuple) else (expect,)))
        raise UserError(f"{file}: {function}() returned {type(experiment).__name__}, not {wanted}")
    try:
        to_json(experiment)
    except UserError as error:
        raise UserError(f"{file}: {function}(): {error}") from error
    return experiment, source, name_of(reference)


def name_of(reference: str) -> str:
    """The name of a recipe, whether it can be loaded or not."""
    where, _, function = reference.partition(":")
    stem = Path(where).stem
    return stem if function in ("", "config") else f"{stem}-{function}"


def import_recipe(file: str) -> None:
    """Run a recipe's file, so that config.json may name the classes it defines (``--recipe FILE``)."""
    _run(find(file))


def find(where: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.  Raises UserError with neighbours."""
    path = Path(where).expanduser()
    if where.endswith(".py") or len(path.parts) > 1:
        if path.is_file():
            return path
        if path.is_dir():
            raise UserError(f"{where} is a folder; name the recipe's file")
        names = [str(p) for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        names += [name for name in shipped() if name == path.stem]
    else:
        known = shipped()
        if where in known:
            return known[where]
        names = [*known, *(p.name for p in sorted(Path().glob("*.py")))]
    close = difflib.get_close_matches(where, names, 3, 0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"shipped recipes: {', '.join(shipped())}"
    raise UserError(f"there is no recipe {where}; {hint}")


def shipped() -> dict[str, Path]:
    """Name -> file of the recipes that came with ssl_jax, sorted."""
    spec = importlib.util.find_spec("ssl_jax.configs")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    folders.append(str(Path(__file__).parents[2] / "configs"))  # a checkout that was never installed
    for folder in folders:
        files = sorted(p for p in Path(folder).glob("*.py") if not p.stem.startswith("_"))
        if files:
            return {p.stem: p for p in files}
    return {}


def _run(file: Path) -> tuple[ModuleType, str]:
    """Execute the file as the module ``recipe_<stem>``, which config.json may then name; and its source."""
    module = ModuleType(f"recipe_{file.stem}")
    module.__file__ = str(file)
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: a recipe may import its neighbours, but never hide a library
    sys.modules[module.__name__] = module  # dataclasses look their module up
    trust(module.__name__)

    def execute() -> str:
        source = file.read_text(encoding="utf-8")
        exec(compile(source, str(file), "exec"), module.__dict__)  # not import: that may run a stale .pyc
        return source

    return module, _guarded(file, execute)


def _guarded(file: Path, call: Any) -> Any:
    try:
        return call()
    except (Failure, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == str(file)]
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"{file}{f':{lines[-1]}' if lines else ''}: {text}") from error


def _functions(module: ModuleType) -> list[str]:
    """What a recipe offers: its own public functions that can be called without arguments."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and all(p.default is not p.empty for p in inspect.signature(value).parameters.values())
    ]
