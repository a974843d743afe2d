# SPDX-License-Identifier: Apache-2.0
"""Writing and reading stores: any slice against plain lists, damage, other formats, and reading by URL."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax.data import Damaged, Data, Unit, open_corpus, prepare
from ssl_jax.data.store import FORMAT, SIDES, Store, digest_of
from ssl_jax.data.writer import SideWriter, Torn
from ssl_jax.types import Failure, UserError
from tests.data.fake_text import Encoded

sentences = st.lists(
    st.lists(st.tuples(st.integers(0, 65535), st.booleans()), min_size=1, max_size=5), max_size=5
)


def encoded(document) -> Encoded:
    """From sentences of (token, whether it begins a word)."""
    flat = [pair for sentence in document for pair in sentence]
    starts = np.cumsum([0, *map(len, document)])[:-1]
    tokens = np.array([t for t, _ in flat], np.int32)
    return Encoded(tokens, starts.astype(np.int64), np.array([w for _, w in flat], bool), 0)


def write(folder, batches, dtype="<u2", pause_after=None):
    """A store of one side; with pause_after the writer stops there, writes rubbish, and goes on."""
    writer = SideWriter(folder / "train", dtype)
    for i, batch in enumerate(batches):
        if i == pause_after:
            state = json.loads(json.dumps(writer.sync()))
            writer.append([encoded(d) for d in batch[:1]], np.zeros(len(batch[:1])))
            writer.close()
            writer = SideWriter(folder / "train", dtype, state)
        writer.append([encoded(d) for d in batch], np.full(len(batch), i))
    side = writer.finish()
    sources = [{"name": "x", "weight": 1.0}]
    return Store(str(folder), "train", {"train": side, "files": {}, "tokenizer": "t", "sources": sources})


@settings(max_examples=20)  # each syncs 12 files
@given(st.lists(st.lists(sentences, max_size=4), max_size=4), st.data(), st.sampled_from(["<u2", "<u4"]))
def test_any_slice_is_what_was_written(tmp_path_factory, batches, data, dtype):
    folder = tmp_path_factory.mktemp("store")
    batches = [[d for d in batch if d] for batch in batches]  # a document of no tokens never gets here
    store = write(folder, batches, dtype, pause_after=data.draw(st.integers(0, 4)))
    documents = [d for batch in batches for d in batch]
    flat = [pair for d in documents for s in d for pair in s]
    assert (store.num_documents, store.num_tokens) == (len(documents), len(flat))
    start = data.draw(st.integers(0, len(flat)))
    stop = data.draw(st.integers(start, len(flat)))
    tokens, words = store.tokens(start, stop), store.word_starts(start, stop)
    assert tokens.dtype == np.int32 and words.dtype == bool
    assert tokens.tolist() == [t for t, _ in flat[start:stop]]
    assert words.tolist() == [w for _, w in flat[start:stop]]
    lengths = [sum(map(len, d)) for d in documents]
    assert store.doc_offsets.tolist() == np.cumsum([0, *lengths]).tolist()
    assert store.doc_sentences.tolist() == np.cumsum([0, *map(len, documents)]).tolist()
    assert store.sentence_offsets.tolist() == np.cumsum([0, *[len(s) for d in documents for s in d]]).tolist()
    assert store.doc_sources.tolist() == [i for i, batch in enumerate(batches) for _ in batch]


def test_tokens_lie_flat_and_little_endian(tmp_path):
    write(tmp_path, [[[[(1, True), (258, False)]], [[(65535, True)]]]])
    assert (tmp_path / "train" / "tokens.bin").read_bytes() == bytes([1, 0, 2, 1, 255, 255])
    assert (tmp_path / "train" / "word_starts.bin").read_bytes() == bytes([0b101])
    assert (tmp_path / "train" / "doc_offsets.bin").read_bytes() == np.array([0, 2, 3], "<i8").tobytes()


def test_a_shorter_file_than_promised_is_torn(tmp_path):
    writer = SideWriter(tmp_path / "train", "<u2")
    writer.append([encoded([[(1, True)] * 5])], np.zeros(1))
    state = writer.sync()
    writer.close()
    (tmp_path / "train" / "tokens.bin").write_bytes(b"12345")
    with pytest.raises(Torn):
        SideWriter(tmp_path / "train", "<u2", state)


@pytest.fixture
def corpus(tmp_path, fake_text):
    path = tmp_path / "x.txt"
    path.write_text("\n".join(f"document {i}. it has two sentences" for i in range(60)))
    return prepare(Data(source=str(path), unit=Unit.LINE, store=str(tmp_path / "store")), fake_text.Text())


def same(a: Store, b: Store) -> None:
    assert a.fingerprint == b.fingerprint and a.num_tokens == b.num_tokens
    for name in ("doc_offsets", "doc_sentences", "sentence_offsets", "doc_sources"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for start, stop in ((0, a.num_tokens), (3, 3), (5, 6), (a.num_tokens - 9, a.num_tokens)):
        np.testing.assert_array_equal(a.tokens(start, stop), b.tokens(start, stop))
        np.testing.assert_array_equal(a.word_starts(start, stop), b.word_starts(start, stop))


def test_opens_again_and_pickles(corpus):
    again = open_corpus(corpus.dir)
    again.verify()
    assert again.fingerprint == corpus.fingerprint and again.report == corpus.report
    for side in SIDES:
        same(getattr(again, side), pickle.loads(pickle.dumps(getattr(corpus, side))))  # noqa: S301


def test_by_url_as_from_a_disk(corpus, tmp_path, fake_text):
    remote = open_corpus(f"file://{corpus.dir}")
    for side in SIDES:
        same(getattr(remote, side), getattr(corpus, side))
    assert remote.tokenizer.fingerprint == corpus.tokenizer.fingerprint
    assert remote.report == corpus.report
    prepared = prepare(Data(source="gone.txt", store=f"file://{corpus.dir}"), fake_text.Text())
    assert prepared.fingerprint == corpus.fingerprint


def test_by_url_damage_is_found(corpus, tmp_path):
    path = tmp_path / "store" / "train" / "doc_offsets.bin"
    raw = bytearray(path.read_bytes())
    raw[8] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Failure, match=r"doc_offsets.bin: not"):
        _ = open_corpus(f"file://{corpus.dir}").train.doc_offsets
    with pytest.raises(UserError, match="no manifest"):
        open_corpus(f"file://{tmp_path}/nowhere")


def test_every_cut_or_flipped_file_is_found(corpus, tmp_path):
    folder = tmp_path / "store"
    for name in [*corpus.manifest["files"], "manifest.json"]:
        path = folder / name
        raw = path.read_bytes()
        damaged = [raw[:-1], raw + b"x", None]
        if raw:
            damaged.append(bytes([raw[0] ^ 1]) + raw[1:])
            damaged.append(raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 64]) + raw[len(raw) // 2 + 1 :])
        for bad in damaged:
            if bad is None:
                path.unlink()
            elif bad == raw:
                continue
            else:
                path.write_bytes(bad)
            with pytest.raises(Damaged) as error:
                open_corpus(folder).verify()
            assert path.name in str(error.value) and "\n" not in str(error.value)
        path.write_bytes(raw)
    open_corpus(folder).verify()


def test_another_format_is_refused(corpus, tmp_path):
    path = tmp_path / "store" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["fingerprint"]
    manifest["format"] = FORMAT + 1
    path.write_text(json.dumps({**manifest, "fingerprint": digest_of(manifest)}))
    with pytest.raises(Damaged, match=f"format {FORMAT + 1}, this version reads {FORMAT}"):
        open_corpus(path.parent)


def test_fingerprint_follows_the_side_and_the_tokenizer(corpus):
    manifest = json.loads(json.dumps(corpus.manifest))
    before = corpus.train.fingerprint
    manifest["heldout"]["digest"] = "another"
    assert Store("elsewhere", "train", manifest).fingerprint == before
    manifest["tokenizer"] = "another"
    assert Store("elsewhere", "train", manifest).fingerprint != before
