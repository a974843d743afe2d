# SPDX-License-Identifier: Apache-2.0
"""A sentencepiece model as a `tokenizer.json` of the `tokenizers` library, typed masks included.

The library cuts special tokens out of a text, then normalises each part as if it were a text of its own: a
leading mark would come after every mask.  So the mask is looked for in the normal form of the whole text
(`normalized`), where a typed mask is told by RAW from what case folding or NFKC makes one of.

Where specials are read as text (`split_special_tokens`), a unigram model would find their names among its own
pieces: the pre-tokeniser cuts each name where its letters begin.  No piece reaches over that place, since
sentencepiece's pieces never mix scripts.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from ssl_jax.hf import charsmap
from ssl_jax.hf.spm_proto import Kind, Proto
from ssl_jax.text.hf_json import special_token

SPACE = "▁"
# A noncharacter and two of private use: nothing maps them or makes them.
RAW, SPLIT, START = "\U0010fffe", "\U0010fffa", "\U0010fffb"
_NAME = re.compile(r"\W+(?=\w)")


def tokenizer_json(proto: Proto, mask: str | None) -> dict[str, Any]:
    """The `tokenizer.json` of a model whose control pieces are its special tokens; no post-processor."""
    specials = [(i, piece) for i, (piece, _, kind) in enumerate(proto.pieces) if kind is Kind.CONTROL]
    specials += [(i, piece) for i, (piece, _, kind) in enumerate(proto.pieces) if kind is Kind.UNKNOWN]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_token(i, name, normalized=name == mask) for i, name in sorted(specials)],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(proto, mask)},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": _pretokenizers(proto)},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(proto, mask)},
        "model": _bpe(proto) if proto.is_bpe else _unigram(proto),
    }


def fairseq(proto: Proto) -> Proto:
    """The pieces at the ids that XLM-R has them, whose sentencepiece model begins `<unk> <s> </s>`."""
    control = lambda name: (name, 0.0, Kind.CONTROL)
    first = [control("<s>"), control("<pad>"), control("</s>"), ("<unk>", 0.0, Kind.UNKNOWN)]
    return dataclasses.replace(proto, pieces=[*first, *proto.pieces[3:], control("<mask>")])


def without_start(config: dict[str, Any], tokens: Iterable[str]) -> dict[str, Any]:
    """The tokenizer.json such that tokens to be added are found wherever they stand: their own normal form,
    which is what is looked for, has no space before it."""
    normalizer = config["normalizer"] or {}
    steps = normalizer.get("normalizers") or []
    start = {"type": "Prepend", "prepend": START}
    if start not in steps:
        return config
    after = steps.index(start) + 1
    alone = "|".join(map(re.escape, tokens))
    steps = [*steps[:after], _replace(rf"\A{START}(?=(?:{alone})\z)", ""), *steps[after:]]
    return config | {"normalizer": normalizer | {"normalizers": steps}}


def hide_typed(config: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A unigram tokenizer.json of another origin, such that typed names of special tokens can be text."""
    # The cut comes last: Metaspace may mark every part that it is given.
    cut = _split(_starts(names), "MergedWithPrevious")
    steps = [step for step in (config["pre_tokenizer"], cut) if step]
    return config | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}


def _starts(names: Iterable[str]) -> str:
    """An expression of the names' beginnings up to their letters."""
    return "|".join(f"{head}(?={tail})" for head, tail in map(_halves, names))


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _normalizers(proto: Proto, mask: str | None) -> list[dict[str, Any]]:
    """As sentencepiece normalises; spaces stay spaces, which Metaspace turns into marks."""
    head, tail = _halves(mask) if mask else ("", "")
    result = []
    if mask and proto.charsmap:
        result.append(_replace(f"(?<={head})(?={tail})", RAW))
    start = START if proto.dummy_prefix else ""
    if proto.dummy_prefix:
        result.append({"type": "Prepend", "prepend": START})
        if mask:  # alone it is what is looked for; where it is text, Metaspace puts the mark before it
            result.append(_replace(rf"\A{START}(?={head}{RAW}?{tail}\z)", ""))
    if proto.charsmap:
        result += charsmap.normalizers(proto.charsmap)
    if proto.collapse_spaces:
        result += [_replace(rf"[ {SPACE}]+\z", ""), _replace(rf"\A{start} +", start), _replace(" {2,}", " ")]
        if proto.dummy_prefix:
            result.append(_replace(rf"\A{START}\z", ""))
    if proto.dummy_prefix:
        result.append(_replace(START, " "))
    if mask and proto.charsmap:
        head, tail = _halves(charsmap.by_characters(proto.charsmap, mask))
        result += [_replace(f"(?<={head})(?={tail})", SPLIT), _replace(RAW, "")]
    if not proto.collapse_spaces:  # a space at a part's end is what a mask stands for; at the text's, text
        result.append(_replace(r" \z", SPACE))
        if mask:
            result.append(_replace(f"{SPACE}(?={head}{tail})", " "))
    return result


def _pretokenizers(proto: Proto) -> list[dict[str, Any]]:
    result = [_split(rf"[ {SPACE}]+\z" if proto.collapse_spaces else r" \z", "Removed")]
    if proto.charsmap:
        result.append(_split(SPLIT, "Removed"))
    if not proto.is_bpe:  # BPE finds only what its merges make
        starts = _starts(piece for piece, _, kind in proto.pieces if kind in (Kind.CONTROL, Kind.UNKNOWN))
        result.append(_split(f"{starts}|<0(?=x[0-9A-F]{{2}}>)", "MergedWithPrevious"))
    scheme = "first" if proto.dummy_prefix else "never"
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}
    return [*result, metaspace]


def _halves(name: str) -> tuple[str, str]:
    """Expressions of a special's name up to its letters (or of its first character), and of the rest."""
    head = found[0] if (found := _NAME.match(name)) else name[:1]
    return re.escape(head), re.escape(name.removeprefix(head))


def _decoders(proto: Proto, mask: str | None) -> list[dict[str, Any]]:
    result = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    folded = charsmap.by_characters(proto.charsmap, mask) if mask and proto.charsmap else mask
    if folded != mask:  # the library names a token by its normal form
        result.append({"type": "Replace", "pattern": {"String": folded}, "content": mask})
    if proto.byte_fallback:
        result.append({"type": "ByteFallback"})
    result.append({"type": "Fuse"})
    if proto.dummy_prefix or proto.collapse_spaces:
        start = 1 << 30 if proto.collapse_spaces else 1
        result.append({"type": "Strip", "content": " ", "start": start, "stop": 0})
    return result


def _bpe(proto: Proto) -> dict[str, Any]:
    """Every way to make a piece of two others is a merge, ranked by the piece's score."""
    vocab = {piece: i for i, (piece, _, _) in enumerate(proto.pieces)}
    normal = {piece: score for piece, score, kind in proto.pieces if kind is Kind.NORMAL}
    merges = []
    for piece in sorted(normal, key=lambda piece: -normal[piece]):
        splits = [(piece[:at], piece[at:]) for at in range(len(piece) - 1, 0, -1)]
        merges += [pair for pair in splits if pair[0] in normal and pair[1] in normal]
    (unk,) = (piece for piece, _, kind in proto.pieces if kind is Kind.UNKNOWN)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": proto.byte_fallback,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
    }


def _unigram(proto: Proto) -> dict[str, Any]:
    (unk,) = (i for i, (_, _, kind) in enumerate(proto.pieces) if kind is Kind.UNKNOWN)
    return {
        "type": "Unigram",
        "unk_id": unk,
        "vocab": [[piece, score] for piece, score, _ in proto.pieces],
        "byte_fallback": proto.byte_fallback,
    }
