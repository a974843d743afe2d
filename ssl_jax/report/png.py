# SPDX-License-Identifier: Apache-2.0
"""An SVG of ours as PNG (extra [plot]), drawn with the fonts of this machine.

One drawing serves both.  resvg draws SVG without any library of the system; it leaves out in silence the
letters that no font has, so fontTools looks for them first.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ssl_jax.types import UserError

_FIRST = ("DejaVuSans", "NotoSans-Regular", "LiberationSans-Regular", "Arial", "Helvetica")  # plain ones
_SCALE = 2.0  # pixels for a unit of the SVG


class Png(NamedTuple):
    """data: the file's bytes; missing: letters that no font here has, in the order of their code points."""

    data: bytes
    missing: str


def require_png() -> None:
    """Raises UserError where the extra is missing."""
    try:
        import fontTools.ttLib  # noqa: F401
        import resvg_py  # noqa: F401
    except ImportError as error:
        raise UserError(
            "drawing .png needs: pip install 'ssl_jax[plot]'; a picture that ends in .svg needs nothing"
        ) from error


def png(svg: str) -> Png:
    """Raises UserError where the extra is missing."""
    require_png()
    import resvg_py

    family, missing = _fonts(set("".join(ElementTree.fromstring(svg).itertext())))
    data = resvg_py.svg_to_bytes(
        svg_string=svg,
        zoom=_SCALE,
        skip_system_fonts=True,
        font_dirs=[str(folder) for folder in _folders()],
        font_family=family,
        sans_serif_family=family,
    )
    return Png(bytes(data), "".join(sorted(missing)))


def _folders() -> list[Path]:
    """Where systems keep fonts, those that are there."""
    home = Path.home()
    if sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        local = home / "AppData/Local/Microsoft/Windows/Fonts"
        folders = [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", local]
    else:
        shared = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts")]
        folders = [*shared, home / ".local/share/fonts", home / ".fonts"]
    return [folder for folder in folders if folder.is_dir()]


def _fonts(letters: set[str]) -> tuple[str | None, set[str]]:
    """(the family of the plainest font here, letters that no font has)."""
    files = [f for folder in _folders() for f in folder.rglob("*.[tToO][tT][fFcC]")]
    family, missing = None, {letter for letter in letters if not letter.isspace()}
    for file in sorted(files, key=lambda f: (not f.stem.startswith(_FIRST), f)):
        for font in _open(file):
            if family is None:
                family = font["name"].getBestFamilyName()
            missing -= {chr(code) for code in font.getBestCmap() or ()}
        if not missing:
            break
    return family, missing


def _open(file: Path) -> Iterator[Any]:
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(file, fontNumber=0, lazy=True) as font:
            yield font
    except (TTLibError, OSError):  # no font after all
        return
