# SPDX-License-Identifier: Apache-2.0
"""What is read from, and changed in, a `tokenizer.json` before the library opens it."""

import copy
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ssl_jax.types import Specials, UserError

# The usual names, best first.
_NAMES = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>", "<|endoftext|>", "</s>", "<|end_of_text|>"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]", "<cls>", "<s>", "<bos>"),
    "sep": ("[SEP]", "<sep>", "</s>", "<eos>"),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "bos": ("<|begin_of_text|>", "<|startoftext|>", "<bos>", "<s>", "<|endoftext|>", "[CLS]"),
    "eos": ("<|end_of_text|>", "<|endoftext|>", "<eos>", "</s>", "[SEP]"),
}
_ALL_NAMES = frozenset(itertools.chain.from_iterable(_NAMES.values()))
HIDDEN = "\U0010ffff"  # no character, and no normaliser makes one of it


def parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object of a normaliser or pre-tokeniser, sequences opened."""
    if isinstance(config, dict):
        yield config
        for inner in config.values():
            yield from parts(inner)
    elif isinstance(config, list):
        for inner in config:
            yield from parts(inner)


def merged(config: dict[str, Any]) -> set[str]:
    """Pieces that a BPE model makes by merging: text, whatever their names."""
    merges = config["model"].get("merges") or []
    return {"".join(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges}


def hide_specials(config: dict[str, Any], names: Iterable[str] = (), shown: str = "") -> dict[str, Any]:
    """The tokenizer with its special tokens under names that no text holds, at the same ids.

    Renaming keeps every id; a flag of the library keeps added tokens from being found in a text, but not
    a unigram or WordPiece model from finding "[MASK]" among its own pieces.  names: specials by whatever
    name; shown: one that keeps its own.
    """
    config = copy.deepcopy(config)
    added = config.get("added_tokens") or []
    special = {token["content"] for token in added if token["special"]} | (_ALL_NAMES - merged(config))
    special = (special | set(names)) - {shown}
    rename = lambda piece: HIDDEN + piece if piece in special else piece
    for token in added:
        token["content"] = rename(token["content"])
    model = config["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {rename(piece): i for piece, i in model["vocab"].items()}
    else:
        model["vocab"] = [[rename(piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token"):
        model["unk_token"] = rename(model["unk_token"])
    return config | {"post_processor": None, "truncation": None, "padding": None}


def _sees_spaces(config: dict[str, Any]) -> bool:
    """Metaspace marks the words where spaces are; in XLM-R's file it gets words, and marks each."""
    kinds = {part.get("type") for part in parts(config["pre_tokenizer"])}
    return not kinds & {"WhitespaceSplit", "Whitespace"}


def for_masks(config: dict[str, Any], mask: str, mask_id: int) -> dict[str, Any]:
    """The tokenizer such that a typed mask leaves no stray piece beside it.

    A piece that holds the space before its word is masked with it, so the mask takes that space too (all
    the white space there, as RoBERTa's and ModernBERT's do); and what follows a mask is no text's beginning.
    Only XLM-R's own file marks what follows a mask as a word whether a space is there or not.
    """
    config = copy.deepcopy(config)
    added = config["added_tokens"] = config.get("added_tokens") or []
    token = next((token for token in added if token["content"] == mask), None)
    if token is None:
        token = special_token(mask_id, mask)
        added.append(token)
    for part in parts(config["pre_tokenizer"]):
        if part.get("type") in ("ByteLevel", "Metaspace") and not token["normalized"]:
            token["lstrip"] = True
        always = part.get("type") == "Metaspace" and part.get("prepend_scheme", "always") == "always"
        if always and _sees_spaces(config):
            part["prepend_scheme"] = "first" if part.pop("add_prefix_space", True) else "never"
    added.sort(key=lambda token: token["id"])
    return config


def special_token(i: int, content: str, **flags: bool) -> dict[str, Any]:
    """An entry of `added_tokens`."""
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": i, "content": content, **usual, **flags}


def without_prefix(config: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer for the middle of a text: no space put before it."""
    config = copy.deepcopy(config)
    for part in parts(config["pre_tokenizer"]):
        if part.get("type") == "Metaspace" and _sees_spaces(config):
            part.pop("add_prefix_space", None)
            part["prepend_scheme"] = "never"
        elif part.get("type") == "ByteLevel":
            part["add_prefix_space"] = False
    for part in parts(config["normalizer"]):
        if part.get("type") == "Prepend":
            part.update({"type": "Replace", "pattern": {"String": HIDDEN}, "content": HIDDEN})
            part.pop("prepend")
    return config


def find_specials(
    config: dict[str, Any], vocab: Mapping[str, int], names: Mapping[str, str] | None = None
) -> Specials:
    """The special tokens by the names given (role -> name), else by their usual names.

    Raises UserError where none can pad."""
    known = {name: vocab[name] for name in _ALL_NAMES - merged(config) if name in vocab}
    found = {role: next((known[n] for n in usual if n in known), None) for role, usual in _NAMES.items()}
    unk_token = config["model"].get("unk_token")
    if unk_token in vocab:
        found["unk"] = vocab[unk_token]
    found |= {role: vocab[name] for role, name in (names or {}).items()}
    if found["pad"] is None:
        raise UserError(
            f"the tokenizer has no padding token by a usual name ({', '.join(_NAMES['pad'][:4])})"
        )
    return Specials(**found)
