# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a `transformers` directory as one of ours, and new tokens for it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_jax import text
from ssl_jax.hf import spm_json
from ssl_jax.hf.spm_proto import read_proto
from ssl_jax.hf.tokenizer import CONFIG, ORIGIN, VOCAB, special_names
from ssl_jax.text import spm, store, wordpiece
from ssl_jax.text.hf_json import find_specials, special_token
from ssl_jax.types import Specials, UserError

_MERGES = ("vocab.json", "merges.txt")
_FAIRSEQ = "sentencepiece.bpe.model"  # XLM-R's, a unigram model in spite of its name
_ROLES = tuple(Specials.__dataclass_fields__)
_RESAVE = (
    "write one with AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) where `transformers` and "
    "`sentencepiece` are installed"
)


def keep_tokenizer(hf_dir: Path, out_dir: Path) -> None:
    """Writes the tokenizer of a `transformers` directory to out_dir, as text.load opens it.

    It gives the ids that AutoTokenizer gives with split_special_tokens=True and add_special_tokens=False.
    Read are tokenizer.json or, of older models, vocab.txt (BERT), vocab.json and merges.txt (GPT-2, RoBERTa)
    or sentencepiece.bpe.model (XLM-R); the special tokens by tokenizer_config.json and
    special_tokens_map.json, and what these don't name by its usual name; without a padding token the end of
    a text pads.  Where export_tokenizer wrote the directory, and nobody changed its tokenizer since, our
    own comes back, with the same fingerprint.

    Raises UserError where there is no tokenizer, or none that can be read.
    """
    if _restore(hf_dir, out_dir):
        return
    settings = _read_json(hf_dir / CONFIG)
    try:
        config = _tokenizer_json(hf_dir, settings)
        for i, token in (settings.get("added_tokens_decoder") or {}).items():
            _put_added(config, int(i), token)
        vocab = _library(config).get_vocab()
    except UserError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{hf_dir}: no tokenizer that `tokenizers` can open: {error}") from None
    names = _names(settings, _read_json(hf_dir / "special_tokens_map.json"))
    names = {role: name for role, name in names.items() if name in vocab}
    if "pad" not in names and "eos" in names:
        names["pad"] = names["eos"]
    try:
        find_specials(config, vocab, names)
    except UserError as error:
        raise UserError(f"{hf_dir}: {error}; name one in {CONFIG}") from None
    store.write_dir(out_dir, {wordpiece.FILE: _compact(config)}, wordpiece.KIND, {"specials": names})


def add_tokens(tokenizer_dir: Path, tokens: Sequence[str]) -> int:
    """Adds tokens to the end of a tokenizer's vocabulary, in place: wherever a text holds one it becomes its
    id, as with `transformers`' add_tokens.  Returns how many are new; what is there already stays as it is.

    A sentencepiece model becomes a tokenizer.json first, since its own format can't be added to.
    """
    meta, files = store.read_dir(tokenizer_dir)
    settings = meta["settings"]
    if meta["kind"] == spm.KIND:
        config = spm_json.tokenizer_json(read_proto(files[spm.FILE]), spm.MASK)
        settings = {"specials": special_names(text.load(tokenizer_dir))}
    else:
        config = json.loads(files[wordpiece.FILE])
    vocab = _library(config).get_vocab()
    new = [token for token in dict.fromkeys(tokens) if token not in vocab]
    if not all(token.strip() for token in new):
        raise UserError("a token to add is empty or white space")
    if not new:
        return 0
    config = spm_json.without_start(config, new)
    size = max(vocab.values()) + 1
    config["added_tokens"] += [
        special_token(size + i, token, normalized=True, special=False) for i, token in enumerate(new)
    ]
    store.write_dir(tokenizer_dir, {wordpiece.FILE: _compact(config)}, wordpiece.KIND, dict(settings))
    return len(new)


def _library(config: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(config))


def _compact(config: dict[str, Any]) -> bytes:
    """The library's own form, but for its numbers: it loses their last digits when it reads them."""
    return json.dumps(config, ensure_ascii=False, separators=(",", ":")).encode()


def _restore(hf_dir: Path, out_dir: Path) -> bool:
    """Our own tokenizer directory, of one that export_tokenizer wrote; False where it is none, or changed."""
    origin = _read_json(hf_dir / ORIGIN)
    exported = hf_dir / wordpiece.FILE
    if not origin or not exported.is_file():
        return False
    data = exported.read_bytes()
    if hashlib.sha256(data).hexdigest() != origin.get("exported"):
        return False
    if origin["kind"] == spm.KIND:
        candidates = [(hf_dir / spm.FILE).read_bytes()] if (hf_dir / spm.FILE).is_file() else []
    else:
        config = {**json.loads(data), **origin["original"]}  # as the library writes it: either way
        candidates = [_compact(config), json.dumps(config, ensure_ascii=False, indent=2).encode()]
    ((name, digest),) = origin["files"].items()
    for candidate in candidates:
        if hashlib.sha256(candidate).hexdigest() == digest:
            store.write_dir(out_dir, {name: candidate}, origin["kind"], origin["settings"])
            return True
    return False


def _tokenizer_json(hf_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer.json, made of what an older model has where there is none."""
    if (hf_dir / wordpiece.FILE).is_file():
        return _read_json(hf_dir / wordpiece.FILE)
    if (hf_dir / VOCAB).is_file():
        lower = settings.get("do_lower_case", True)
        strip = settings.get("strip_accents")
        pieces = wordpiece.read_vocab(str(hf_dir / VOCAB))
        return json.loads(wordpiece.bert(pieces, lower, lower if strip is None else strip).to_str())
    if all((hf_dir / name).is_file() for name in _MERGES):
        return _byte_level(hf_dir, settings)
    if (hf_dir / _FAIRSEQ).is_file():
        proto = spm_json.fairseq(read_proto((hf_dir / _FAIRSEQ).read_bytes()))
        return spm_json.tokenizer_json(proto, "<mask>")
    if models := [path.name for path in hf_dir.glob("*.model")]:
        raise UserError(f"{hf_dir} has a {models[0]}, but no {wordpiece.FILE}: {_RESAVE}")
    raise UserError(f"{hf_dir} has no tokenizer: neither {wordpiece.FILE} nor {VOCAB}")


def _byte_level(hf_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """GPT-2's and RoBERTa's tokenizer of vocab.json and merges.txt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = _read_json(hf_dir / _MERGES[0])
    lines = (hf_dir / _MERGES[1]).read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    prefix = bool(settings.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return json.loads(tokenizer.to_str())


def _put_added(config: dict[str, Any], i: int, token: Mapping[str, Any]) -> None:
    """An added token as tokenizer_config.json has it, whose flags win over tokenizer.json's."""
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    entry = special_token(i, token["content"], **{flag: bool(token.get(flag)) for flag in flags})
    others = [other for other in config.get("added_tokens") or [] if other["id"] != i]
    config["added_tokens"] = sorted([*others, entry], key=lambda other: other["id"])


def _names(*sources: Mapping[str, Any]) -> dict[str, str]:
    """Role -> name; the first source that names a role wins."""
    names: dict[str, str] = {}
    for source in sources:
        for role in _ROLES:
            value = source.get(f"{role}_token")
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                names.setdefault(role, value)
    return names


def _read_json(path: Path) -> dict[str, Any]:
    """The file's object; {} where there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object")
    return value
