# SPDX-License-Identifier: Apache-2.0
"""A run as data: recipes (Python files), ``--set`` (dotted changes), ``config.json`` (a workdir's record).

A field's metadata says what this package does with it:

- ``{"bound": True}``: filled by ``bind``; never written, never set, never compared.
- ``{"free": True}``: may change when a run resumes; on a section it holds for everything below.
- ``{"branch": True}``: may change only with ``--branch``.
- ``{"identity": True}``: takes one field of a free section back.
- nothing: identity; a change on resume is an error that shows it.

A dataclass may offer ``set_aliases: ClassVar[dict[str, Callable[[Self, value], Self]]]``: then ``--set
loop.num_steps=200`` calls ``set_aliases["num_steps"](loop, 200)`` and takes what it returns.  The value has
the type of the second parameter's annotation; without one, what it looks like (None, bool, int, float, str).
"""

from ssl_jax.config.overrides import apply_sets, settable
from ssl_jax.config.recipes import import_recipe, load_recipe, name_of, shipped
from ssl_jax.config.record import Change, diff, from_json, to_json, trust

__all__ = [
    "Change",
    "apply_sets",
    "diff",
    "from_json",
    "import_recipe",
    "load_recipe",
    "name_of",
    "settable",
    "shipped",
    "to_json",
    "trust",
]
