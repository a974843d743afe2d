# SPDX-License-Identifier: Apache-2.0
"""A trained tokenizer as a directory that `transformers`' AutoTokenizer loads, without remote code."""

import enum
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_jax import text
from ssl_jax.hf import spm_json
from ssl_jax.hf.spm_proto import read_proto
from ssl_jax.hf.tokenizer_check import Check, check, name_of
from ssl_jax.text import spm, store, wordpiece
from ssl_jax.text.hf_json import for_masks, special_token
from ssl_jax.types import Failure, UserError

CONFIG = "tokenizer_config.json"
ORIGIN = "tokenizer_origin.json"
VOCAB = "vocab.txt"
# For the model card.
TYPED_SPECIALS = (
    "Training read the names of special tokens in a text as text. `transformers` makes special tokens of "
    "them unless told not to: for text of unknown origin call the tokenizer with "
    "`split_special_tokens=True`, which gives the ids that training saw (a typed mask is text then, too)."
)
# Of the lines that the export is checked on.  A unigram model breaks ties between equally likely pieces, and
# sums its scores with other precision.
MOST_DIFFERENT = 0.005


class Template(enum.Enum):
    """How the special tokens stand around a text: as the objective that trained the model laid them out."""

    TEXTS = "[CLS] A [SEP], or [CLS] A [SEP] B [SEP] with type 1 from B on"
    ENDED = "[BOS] A [EOS], or [BOS] A [EOS] B [EOS]: texts that are read at their end"
    DOCUMENT = "[BOS] A: a document begins; what is generated goes on with it"


@dataclass(frozen=True)
class ExportedTokenizer:
    """The tokenizer's files, and what the check of their equality found."""

    files: tuple[str, ...]
    check: Check

    def __str__(self) -> str:
        return f"tokenizer: {self.check}"


def export_tokenizer(
    tokenizer_dir: Path, out_dir: Path, *, template: Template, max_length: int, token_types: bool
) -> ExportedTokenizer:
    """Writes tokenizer.json, tokenizer_config.json, the sentencepiece model or vocab.txt, and what
    `keep_tokenizer` restores the directory from, into out_dir.

    template: what the model was trained on, whatever an imported tokenizer's own template was: RoBERTa's
    `<s> A </s></s> B </s>` becomes the `<s> A </s> B </s>` that our objectives lay out.
    max_length: positions of the model.  token_types: the model reads type ids.

    Encoding and decoding are compared with the trained tokenizer's (`tokenizer_check`).  Raises Failure
    where more than the promise differs: nothing for byte-level BPE, BPE with byte fallback and WordPiece, and
    0.5 % of the lines for the others.  Raises UserError where the template needs tokens that there aren't.
    """
    meta, files = store.read_dir(tokenizer_dir)
    tokenizer = text.load(tokenizer_dir)
    config, extra = _convert(meta["kind"], files, tokenizer)
    names = special_names(tokenizer)
    config |= {"truncation": None, "padding": None, "post_processor": _post_processor(template, tokenizer)}
    added = {token["id"] for token in config["added_tokens"]}
    ids = {getattr(tokenizer.specials, role): name for role, name in names.items()}
    config["added_tokens"] += [special_token(i, name) for i, name in ids.items() if i not in added]
    config["added_tokens"].sort(key=lambda token: token["id"])
    result = check(tokenizer, config)
    if result.share > (0 if is_exact(config["model"]) else MOST_DIFFERENT):
        raise Failure(f"the exported tokenizer isn't the trained one: {result}, as {result.example!r}")
    exported = _dump(config)
    written = {
        wordpiece.FILE: exported,
        CONFIG: _dump(_tokenizer_config(config, names, template, max_length, token_types)),
        ORIGIN: _dump(_origin(meta, files, config, exported)),
        **extra,
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, data in written.items():
        (out_dir / name).write_bytes(data)
    return ExportedTokenizer(tuple(written), result)


def is_exact(model: dict[str, Any]) -> bool:
    """The model has no ties to break, and no unknown pieces to fuse."""
    whole_bytes = model.get("byte_fallback") or not model.get("unk_token")
    return model["type"] == "WordPiece" or (model["type"] == "BPE" and bool(whole_bytes))


def special_names(tokenizer: Any) -> dict[str, str]:
    """Role -> name of the special tokens that there are."""
    specials = asdict(tokenizer.specials)
    return {role: name_of(tokenizer, i) for role, i in specials.items() if i is not None}


def _dump(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _convert(kind: str, files: dict[str, bytes], tokenizer: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(the tokenizer.json, files beside it)."""
    if kind == spm.KIND:
        config = spm_json.tokenizer_json(read_proto(files[spm.FILE]), spm.MASK)
        return config, {spm.FILE: files[spm.FILE]}
    config = json.loads(files[wordpiece.FILE])
    if (mask := tokenizer.specials.mask) is not None:
        config = for_masks(config, name_of(tokenizer, mask), mask)
    if config["model"]["type"] == "Unigram":
        config = spm_json.hide_typed(config, special_names(tokenizer).values())
    if config["model"]["type"] != "WordPiece":
        return config, {}
    vocab = config["model"]["vocab"]
    return config, {VOCAB: "".join(f"{piece}\n" for piece in sorted(vocab, key=vocab.get)).encode()}


def _post_processor(template: Template, tokenizer: Any) -> dict[str, Any]:
    special = lambda i, kind=0: {"SpecialToken": {"id": name_of(tokenizer, i), "type_id": kind}}
    a, b = ({"Sequence": {"id": name, "type_id": kind}} for name, kind in (("A", 0), ("B", 1)))
    specials = tokenizer.specials
    bos, eos = specials.bos, specials.eos
    if template is not Template.DOCUMENT:
        names = "[CLS] and [SEP]" if template is Template.TEXTS else "BOS and EOS"
        first, last = (specials.cls, specials.sep) if template is Template.TEXTS else (bos, eos)
        _require(names, first, last)
        single = [special(first), a, special(last)]
        pair, used = [*single, b, special(last, 1)], (first, last)
    else:
        _require("BOS", bos)
        single, used = [special(bos), a], (bos,)
        pair = [*single, special(bos, 1), b]
    named = {name_of(tokenizer, i): i for i in used}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in named.items()},
    }


def _require(what: str, *ids: int | None) -> None:
    if None in ids:
        raise UserError(f"the tokenizer lacks the special token {what}, which this model's texts begin with")


def _tokenizer_config(
    config: dict[str, Any], names: dict[str, str], template: Template, max_length: int, token_types: bool
) -> dict[str, Any]:
    inputs = ["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"]
    normalizer = config["normalizer"] or {}
    bert = normalizer if normalizer.get("type") == "BertNormalizer" else {}
    flags = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
    return {
        # Whatever the architecture, the tokenizer.json as it is, not rebuilt from its vocabulary.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": inputs,
        "padding_side": "left" if template is Template.DOCUMENT else "right",
        **{f"{role}_token": name for role, name in names.items()},
        **{theirs: bert[ours] for theirs, ours in flags.items() if ours in bert},
    }


def _origin(
    meta: dict[str, Any], files: dict[str, bytes], config: dict[str, Any], exported: bytes
) -> dict[str, Any]:
    """Our tokenizer directory but for its large files: what the export changed in its tokenizer.json."""
    original = json.loads(files[wordpiece.FILE]) if wordpiece.FILE in files else config
    return {
        **meta,
        "exported": hashlib.sha256(exported).hexdigest(),
        "original": {name: part for name, part in original.items() if config[name] != part},
    }
