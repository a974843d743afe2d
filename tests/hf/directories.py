# SPDX-License-Identifier: Apache-2.0
"""Tokenizer directories in the shape that each family of `transformers` has them, trained on a few texts."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(texts: list[str], specials: list[Any], normalizer: Any = None, cut: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, special_tokens=specials, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _write(folder: Path, tokenizer: Tokenizer | None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def roberta(texts: list[str], folder: Path) -> Path:
    mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False)
    tokenizer = _byte_level(texts, ["<s>", "<pad>", "</s>", "<unk>", mask])
    return _write(folder, tokenizer, tokenizer_class="RobertaTokenizer", model_max_length=512)


def gpt2(texts: list[str], folder: Path) -> Path:
    end = "<|endoftext|>"
    tokenizer = _byte_level(texts, [end])
    roles = {"bos_token": end, "eos_token": end, "unk_token": end}
    return _write(folder, tokenizer, tokenizer_class="GPT2Tokenizer", **roles)


def modernbert(texts: list[str], folder: Path) -> Path:
    mask = AddedToken("[MASK]", lstrip=True, special=True, normalized=False)
    tokenizer = _byte_level(texts, ["[UNK]", "[CLS]", "[SEP]", "[PAD]", mask], normalizers.NFC())
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    roles = {f"{role}_token": name for role, name in names.items()}
    return _write(folder, tokenizer, tokenizer_class="PreTrainedTokenizerFast", **roles)


def qwen(texts: list[str], folder: Path) -> Path:
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated")
    cut = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = _byte_level(texts, [], normalizers.NFC(), cut)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False, special=False)])
    roles = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "bos_token": None, "unk_token": None}
    return _write(folder, tokenizer, tokenizer_class="Qwen2Tokenizer", **roles)


def xlmr(texts: list[str], folder: Path) -> Path:
    """Its specials under other names, so that only tokenizer_config.json can tell them."""
    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.Metaspace()
    mask = AddedToken("<hole>", lstrip=True, special=True, normalized=False)
    specials = ["<begin>", "<fill>", "<end>", "<odd>", mask]
    trainer = trainers.UnigramTrainer(
        vocab_size=500, show_progress=False, special_tokens=specials, unk_token="<odd>"
    )
    tokenizer.train_from_iterator([text[:800] for text in texts], trainer)
    names = {"cls": "<begin>", "pad": "<fill>", "sep": "<end>", "unk": "<odd>", "mask": "<hole>"}
    roles = {f"{role}_token": name for role, name in names.items()} | {"eos_token": "<end>"}
    return _write(folder, tokenizer, tokenizer_class="PreTrainedTokenizerFast", **roles)


def bert(texts: list[str], folder: Path, lower: bool = True) -> Path:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, limit_alphabet=200, show_progress=False, special_tokens=specials
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _write(folder, tokenizer, tokenizer_class="BertTokenizer", do_lower_case=lower)


def old_bert(texts: list[str], folder: Path) -> Path:
    """Cased, with its vocabulary alone."""
    vocab = Tokenizer.from_file(str(bert(texts, folder / "new", lower=False) / "tokenizer.json")).get_vocab()
    _write(folder / "old", None, do_lower_case=False)
    lines = "".join(f"{piece}\n" for piece in sorted(vocab, key=vocab.get))
    (folder / "old" / "vocab.txt").write_text(lines, encoding="utf-8")
    return folder / "old"


FAMILIES = {
    "roberta": roberta,
    "gpt2": gpt2,
    "modernbert": modernbert,
    "qwen": qwen,
    "xlmr": xlmr,
    "bert": bert,
    "old_bert": old_bert,
}
