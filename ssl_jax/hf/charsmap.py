# SPDX-License-Identifier: Apache-2.0
"""sentencepiece's compiled normaliser, as normalisers of the `tokenizers` library that do exactly the same.

sentencepiece replaces, at each place of a text, the longest key of its map.  The library's `Precompiled`
looks a whole grapheme up where that is shorter than six bytes, and single characters otherwise: it misses
keys of several long characters (Hangul jamo, kana with voicing marks, Indic vowels in NFD) and drops
what follows a key within a grapheme.  So Precompiled is made to see single characters alone, and the keys of
several characters are composed by NFC, which is kept from composing anything else.  Keys that NFC doesn't
compose (of scripts newer than the library, and some of case folding) are looked for one by one.
"""

import base64
import functools
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Private use: nothing maps them, they compose with nothing.
BARRIER, ALONE, FIRST_FORM = "\U0010fffd", "\U0010fffc", 0x10F000
_PLANES = 0x20000  # no character beyond composes


def normalizers(charsmap: bytes) -> list[dict[str, Any]]:
    """The normalisers of a `tokenizer.json`, to be applied one after another."""
    keys, follows, others = _units(charsmap)
    forms = [(others[form], form, chr(FIRST_FORM + i)) for i, form in enumerate(others)]
    # Never before the first character: the library loses its place there.
    barrier = rf"(?m:(?=.[{follows}]){keys}\K|(?!\A)(?=[{follows}]))"
    return [
        *(_replace_keys(keys, mark) for keys, _, mark in forms),
        *([_replace(barrier, BARRIER)] if keys else []),
        _replace(r"(?!\A)(?=[^\x00-\x7f]|\n)", ALONE),
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
        _replace(ALONE, ""),
        *([{"type": "NFC"}, _replace(BARRIER, "")] if keys else []),
        *(_replace(mark, form) for _, form, mark in forms),
    ]


def by_characters(charsmap: bytes, text: str) -> str:
    """The normal form of a text that no key of several characters begins in."""
    mapping = read_map(charsmap)
    return "".join(mapping.get(char, char) for char in text)


def _replace_keys(keys: list[str], content: str) -> dict[str, Any]:
    if len(keys) == 1:
        return {"type": "Replace", "pattern": {"String": keys[0]}, "content": content}
    return _replace(_pattern(_tree(keys)), content)


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


@functools.lru_cache(maxsize=4)
def _units(charsmap: bytes) -> tuple[str, str, dict[str, list[str]]]:
    """(an expression of the keys of several characters that NFC composes, longest first, the class of
    characters that NFC joins to one before them, the other keys of several characters by their forms)."""
    from tokenizers.normalizers import NFC

    mapping = read_map(charsmap)
    long = [key for key in mapping if len(key) > 1]
    single = {key: form for key, form in mapping.items() if len(key) == 1}
    by_parts = BARRIER.join("".join(single.get(char, char) for char in key) for key in long)
    composed, others = [], defaultdict(list)
    for key, form in zip(long, NFC().normalize_str(by_parts).split(BARRIER)):
        if form == mapping[key]:
            composed.append(key)
        else:
            others[mapping[key]].append(key)
    joining = _joining()
    follows = {char for char in joining if char not in single}
    follows |= {char for char, form in single.items() if form[:1] in joining}
    longest_first = sorted(others, key=lambda form: -max(map(len, others[form])))
    return _pattern(_tree(composed)), _class(follows), {form: others[form] for form in longest_first}


def _joining() -> set[str]:
    """Characters that NFC moves, or joins to a character before them."""
    result = {chr(c) for c in range(_PLANES) if unicodedata.combining(chr(c))}
    result |= {chr(c) for c in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # jamo: joined by rule
    for code in range(_PLANES):
        parts = unicodedata.decomposition(chr(code))
        if " " in parts and "<" not in parts:
            result.add(chr(int(parts.split()[1], 16)))
    return result


def _tree(keys: Iterable[str]) -> dict[str, Any]:
    """The keys' characters, nested; "" is where one ends."""
    tree: dict[str, Any] = {}
    for key in keys:
        node = tree
        for char in key:
            node = node.setdefault(char, {})
        node[""] = {}
    return tree


def _pattern(tree: Mapping[str, Any]) -> str:
    """A tree of keys as an expression, longest first; characters before the same ends share a branch."""
    branches: dict[str, list[str]] = defaultdict(list)
    for char, node in tree.items():
        if char:
            branches[_pattern(node) if len(node) > 1 or "" not in node else ""].append(char)
    if not branches:
        return ""
    texts = [f"[{_class(chars)}]{rest}" for rest, chars in branches.items()]
    return f"(?:{'|'.join(texts)}){'?' if '' in tree else ''}"


def _class(chars: Iterable[str]) -> str:
    """The inside of a character class, in ranges."""
    return _ranges(tuple(sorted(map(ord, chars))))


@functools.lru_cache(maxsize=1024)
def _ranges(codes: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    one = lambda code: rf"\x{{{code:x}}}"
    return "".join(one(first) if first == last else f"{one(first)}-{one(last)}" for first, last in runs)


@functools.lru_cache(maxsize=2)
def read_map(charsmap: bytes) -> dict[str, str]:
    """Key -> normal form, of a double array (darts-clone) and the forms, each ended by a zero byte.

    In the array a unit's children lie at its base xor their byte, so that a child knows its parent's base.
    """
    (size,) = struct.unpack_from("<I", charsmap)
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    texts = charsmap[4 + size :]
    places = np.arange(units.size)
    bases = places ^ ((units >> 10) << ((units & 0x200) >> 6))
    letters = units & 0x800000FF  # with the high bit: a value, not a node
    nodes = places[letters < 256][1:]
    parents_base = nodes ^ letters[nodes]
    order = np.argsort(parents_base, kind="stable")
    nodes, parents_base = nodes[order], parents_base[order]
    result: dict[str, str] = {}
    level, keys = np.zeros(1, np.int64), [b""]
    while level.size:
        first = np.searchsorted(parents_base, bases[level], "left")
        counts = np.searchsorted(parents_base, bases[level], "right") - first
        owner = np.repeat(np.arange(level.size), counts)
        within = np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)
        children = nodes[first[owner] + within]
        keys = [keys[i] + bytes([letter]) for i, letter in zip(owner.tolist(), letters[children].tolist())]
        level = children
        for i in np.flatnonzero(units[level] & 0x100).tolist():
            start = int(units[bases[level[i]]] & 0x7FFFFFFF)
            result[keys[i].decode()] = texts[start : texts.index(b"\0", start)].decode()
    return result
