# SPDX-License-Identifier: Apache-2.0
"""Entities in tags, and F1, precision and recall of them as `conlleval` defines these
(Tjong Kim Sang and De Meulder 2003, section 3).

One reading serves BIO (IOB2), IOB1 and BIOES, as the script's does (S- as its ports and seqeval read it: an
entity of one word).  It never refuses a sequence: an I- or E- that goes on with nothing begins an entity.
"""

import re
from collections.abc import Iterable, Sequence

TAG = re.compile(r"O|[BIES]-.+")  # a tag that can be read: outside, or a prefix and a type


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, word after the last) of each entity of a sentence."""
    found, begin = set(), 0
    for i, tag in enumerate(tags):
        if i == 0 or not _goes_on(tags[i - 1], tag):
            begin = i
        if tag != "O" and (i + 1 == len(tags) or not _goes_on(tag, tags[i + 1])):
            found.add((_type(tag), begin, i + 1))
    return found


def _goes_on(before: str, tag: str) -> bool:
    """The word tagged `tag` is in the same entity as the word before."""
    return before[0] in "BI" and tag[0] in "IE" and _type(before) == _type(tag)


def _type(tag: str) -> str:
    return tag.partition("-")[2]


def f1_precision_recall(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> tuple[float, float, float]:
    """Of the entities of all sentences together, (gold, predicted) tags of each; 0 where nothing is found.

    An entity is right where type, first and last word are.
    """
    right = gold = found = 0
    for true, guessed in pairs:
        ours, theirs = entities(guessed), entities(true)
        right, gold, found = right + len(ours & theirs), gold + len(theirs), found + len(ours)
    return 2 * right / max(gold + found, 1), right / max(found, 1), right / max(gold, 1)
