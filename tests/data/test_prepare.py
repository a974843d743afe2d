# SPDX-License-Identifier: Apache-2.0
"""Preparing: the store against plain Python, the split, kills, locks, a full disk, bad input, the report."""

import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ssl_jax.data import (
    Data,
    Mixture,
    TextFiles,
    Unit,
    Weighted,
    build,
    estimate,
    prepare,
    train_tokenizer,
    writer,
)
from ssl_jax.data.split import keys_of
from ssl_jax.types import Failure, UserError

WORDS = ["the", "cat", "sat", "on", "a", "mat.", "It", "was", "é", "warm", "and", "字", "soft.", "Then"]


def documents(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 30))) + f" no {i}" for i in range(count)]


@pytest.fixture
def corpus_file(tmp_path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(documents(300)), encoding="utf-8")
    return path


def lines(path: Path, **settings) -> Data:
    return Data(source=TextFiles(pattern=str(path), unit=Unit.LINE), **{"heldout": 0.1, **settings})


def decoded(store) -> list[str]:
    return [(store.document(d) - 3).astype(np.uint8).tobytes().decode() for d in range(store.num_documents)]


def tree(folder) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    report = json.loads(found.pop("report.json"))  # the one file with times in it
    return {**found, "report": {k: v for k, v in report.items() if "second" not in k}}


def test_store_holds_every_document_once_in_order(corpus_file, fake_text):
    corpus = prepare(lines(corpus_file), fake_text.Text())
    texts = documents(300)
    held = {t for t in texts if int(keys_of([t])[0]) < int(0.1 * 2**64)}
    assert decoded(corpus.train) == [t for t in texts if t not in held]
    assert decoded(corpus.heldout) == [t for t in texts if t in held]
    encoder = fake_text.Encoder(corpus.tokenizer, None)
    for store in (corpus.train, corpus.heldout):
        for d, text in enumerate(decoded(store)):
            expected = encoder.encode_documents([text])[0]
            start, stop = store.doc_offsets[d : d + 2]
            assert store.word_starts(start, stop).tolist() == expected.word_starts.tolist()
            first, last = store.doc_sentences[d : d + 2]
            assert (store.sentence_offsets[first:last] - start).tolist() == expected.sentence_starts.tolist()
            assert store.sentence_offsets[last] == stop
        assert store.doc_offsets[-1] == store.sentence_offsets[-1] == store.num_tokens
        assert store.doc_sources.tolist() == [0] * store.num_documents
    assert corpus.train.fingerprint != corpus.heldout.fingerprint


def test_batches_and_place_change_nothing(corpus_file, fake_text, tmp_path, monkeypatch):
    first = prepare(lines(corpus_file, store=str(tmp_path / "a")), fake_text.Text())
    monkeypatch.setattr(build, "BATCH_DOCUMENTS", 7)
    moved = tmp_path / "elsewhere" / "corpus.txt"
    moved.parent.mkdir()
    corpus_file.rename(moved)
    second = prepare(lines(moved, store=str(tmp_path / "b"), num_threads=1), fake_text.Text())
    assert first.fingerprint == second.fingerprint
    assert tree(first.dir) == tree(second.dir)
    assert str(tmp_path) not in (tmp_path / "b" / "manifest.json").read_text()


def test_killed_and_resumed_equals_uninterrupted(corpus_file, fake_text, tmp_path, repository):
    whole = prepare(lines(corpus_file, store=str(tmp_path / "whole"), heldout=0.2), fake_text.Text())
    command = [sys.executable, "-m", "tests.data.killed_prepare", corpus_file, tmp_path / "killed", "1"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert tree(tmp_path / "killed") == tree(whole.dir)
    assert not list(tmp_path.glob("killed.*"))


class Interrupted(Exception):
    pass


def interrupt_at(monkeypatch, tokens: int):
    """A progress callback that stops the build once so many tokens are stored and committed."""
    monkeypatch.setattr(build, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(build, "COMMIT_SECONDS", 0.0)

    def progress(stage, done, total, unit):
        if stage.startswith("tokenize") and done > tokens:
            raise Interrupted

    return progress


def test_goes_on_where_it_was(corpus_file, fake_text, tmp_path, monkeypatch):
    data = lines(corpus_file, store=str(tmp_path / "a"))
    with pytest.raises(Interrupted):
        prepare(data, fake_text.Text(), interrupt_at(monkeypatch, 8000))
    encoded = []
    encode = fake_text.Encoder.encode_documents
    monkeypatch.setattr(
        fake_text.Encoder, "encode_documents", lambda s, t, n=1: encoded.extend(t) or encode(s, t, n)
    )
    corpus = prepare(data, fake_text.Text())
    texts = documents(300)
    assert 0 < len(encoded) < 250 and encoded == texts[-len(encoded) :]
    assert sorted(decoded(corpus.train) + decoded(corpus.heldout)) == sorted(texts)
    encoded.clear()
    assert prepare(data, fake_text.Text()).fingerprint == corpus.fingerprint and not encoded


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_torn_building_site_begins_again(corpus_file, fake_text, tmp_path, monkeypatch, damage):
    whole = prepare(lines(corpus_file, store=str(tmp_path / "whole")), fake_text.Text())
    data = lines(corpus_file, store=str(tmp_path / "a"))
    with pytest.raises(Interrupted):
        prepare(data, fake_text.Text(), interrupt_at(monkeypatch, 8000))
    path = tmp_path / "a.building" / "train" / "tokens.bin"
    raw = bytearray(path.read_bytes())
    if damage == "cut":
        del raw[100:]
    else:
        raw[100] ^= 1
    path.write_bytes(raw)
    assert tree(prepare(data, fake_text.Text()).dir) == tree(whole.dir)


def test_full_disk_is_one_line_and_mended_by_running_again(corpus_file, fake_text, tmp_path, monkeypatch):
    whole = prepare(lines(corpus_file, store=str(tmp_path / "whole")), fake_text.Text())
    data = lines(corpus_file, store=str(tmp_path / "a"))
    write, count = writer.HashedFile.write, 0

    def full(self, array):
        nonlocal count
        count += 1
        if count > 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, array)

    monkeypatch.setattr(build, "BATCH_DOCUMENTS", 10)
    with monkeypatch.context() as patch:
        patch.setattr(writer.HashedFile, "write", full)
        with pytest.raises(Failure, match="no space left on the disk"):
            prepare(data, fake_text.Text())
    assert not (tmp_path / "a").exists()
    assert tree(prepare(data, fake_text.Text()).dir) == tree(whole.dir)


def test_two_at_once_build_it_once(corpus_file, fake_text, monkeypatch):
    trained, said, results = [], [], []
    train = fake_text.Bytes.train
    monkeypatch.setattr(
        fake_text.Bytes, "train", lambda *args: (trained.append(1), time.sleep(0.3), train(*args))
    )

    def work():
        progress = lambda *args: said.append(args[0])
        results.append(prepare(lines(corpus_file), fake_text.Text(), progress).fingerprint)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and len(results) == 2 and len(trained) == 1
    assert "wait for another process that prepares the same" in said


def test_tokenizer_sees_training_documents_only(corpus_file, fake_text):
    corpus = prepare(lines(corpus_file), fake_text.Text())
    assert corpus.tokenizer.seen == sorted(decoded(corpus.train))
    assert train_tokenizer(lines(corpus_file), fake_text.Text()).is_dir()


def test_sample_of_a_large_corpus_is_bounded_spread_and_held_out_free(tmp_path, fake_text):
    texts = documents(3000)
    path = tmp_path / "big.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    total = sum(map(len, texts))
    text = fake_text.Text(
        tokenizer=fake_text.Bytes(sample_chars=total // 8)
    )  # a quarter of it is handed over
    corpus = prepare(lines(path), text)
    seen, train = set(corpus.tokenizer.seen), decoded(corpus.train)
    assert seen < set(train)
    assert 0.15 * total < sum(map(len, seen)) < 0.35 * total
    assert any(t in seen for t in train[:300]) and any(t in seen for t in train[-1500:])


def test_duplicates_are_counted_and_dropped_if_asked(tmp_path, fake_text):
    texts = [*documents(40), documents(40)[3].upper(), documents(40)[7] + " ", "new one"]
    path = tmp_path / "x.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    kept = prepare(lines(path), fake_text.Text())
    dropped = prepare(lines(path, dedup=True), fake_text.Text())
    assert kept.report["duplicates"] == dropped.report["duplicates"] == 2
    assert sorted(decoded(kept.train) + decoded(kept.heldout)) == sorted(texts)
    assert sorted(decoded(dropped.train) + decoded(dropped.heldout)) == sorted([*documents(40), "new one"])
    assert "2 (dropped)" in dropped.report_text() and "2 (kept)" in kept.report_text()


def test_duplicates_are_remembered_across_an_interruption(tmp_path, fake_text, monkeypatch):
    texts = documents(100)
    path = tmp_path / "x.txt"
    path.write_text("\n".join(texts + texts), encoding="utf-8")
    with pytest.raises(Interrupted):
        prepare(lines(path, dedup=True), fake_text.Text(), interrupt_at(monkeypatch, 5000))
    corpus = prepare(lines(path, dedup=True), fake_text.Text())
    assert corpus.report["duplicates"] == 100 and corpus.report["documents"] == 100


def test_mixture_marks_documents_and_keeps_weights(tmp_path, fake_text):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name} {i}" for i in range(50)))
    parts = tuple(
        Weighted(source=TextFiles(pattern=str(tmp_path / f"{n}.txt"), unit=Unit.LINE), weight=w)
        for n, w in (("a", 3.0), ("b", 1.0))
    )
    corpus = prepare(Data(source=Mixture(sources=parts), heldout=0.2), fake_text.Text())
    for store in (corpus.train, corpus.heldout):
        assert store.source_weights == (("a.txt", 0.75), ("b.txt", 0.25))
        assert [text[0] for text in decoded(store)] == ["ab"[s] for s in store.doc_sources]
    assert [s["documents"] for s in corpus.manifest["sources"]] == [50, 50]
    assert "source b.txt" in corpus.report_text()


def test_bad_records_are_skipped_counted_and_named(tmp_path, fake_text):
    path = tmp_path / "x.txt"
    path.write_bytes(b"\n".join([*(t.encode() for t in documents(50)), b"br\xffken", b"fine"]))
    with pytest.raises(UserError, match=r"1 bad records, 1.92% .*x.txt: byte \d+ \(line 51\): not UTF-8"):
        prepare(lines(path), fake_text.Text())
    corpus = prepare(lines(path, max_bad=0.05), fake_text.Text())
    assert corpus.report["bad"] == 1 and corpus.report["documents"] == 51
    assert "line 51" in corpus.report_text()


def test_documents_of_no_words_are_counted(tmp_path, fake_text):
    path = tmp_path / "x.txt"
    path.write_text("\n".join([*documents(10), "---", "   ", "!"]))
    corpus = prepare(lines(path), fake_text.Text())
    assert corpus.report["empty"] == 2 and corpus.report["documents"] == 10


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no document"),
        (
            b"caf\xe9\nd\xe9j\xe0\n",
            r"2 bad records, 100.00% .*x.txt: byte 3 \(line 1\): not UTF-8 \(byte 0xe9\)",
        ),
        (b"\0\0\0\0", "a binary file"),
        (b"  \n \n", "no document"),
        (b"one", "one document"),
        (b"--\n!!\n", "no document holds"),
    ],
)
def test_corpora_without_enough_text_are_refused(tmp_path, fake_text, content, word):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=word):
        prepare(lines(path), fake_text.Text())


def test_one_document_will_do_where_nothing_is_held_out(tmp_path, fake_text):
    path = tmp_path / "x.txt"
    path.write_text("one. two")
    corpus = prepare(Data(source=str(path), unit=Unit.FILE, heldout=0.0), fake_text.Text())
    assert decoded(corpus.train) == ["one. two"] and corpus.heldout.num_documents == 0
    assert corpus.heldout.doc_offsets.tolist() == [0] and corpus.heldout.tokens(0, 0).size == 0


def test_report_counts_by_hand(tmp_path, fake_text):
    path = tmp_path / "x.txt"
    path.write_text("a b. c\nd\ne. f. g\nh é\n", encoding="utf-8")
    report = prepare(lines(path, heldout=0.5), fake_text.Text()).report
    assert report["documents"] == 4 and report["characters"] == 6 + 1 + 7 + 3
    assert report["tokens"] == 6 + 1 + 7 + 4
    assert report["sentences_per_document"] == (2 + 1 + 3 + 1) / 4
    assert report["one_sentence_share"] == 0.5
    assert report["characters_per_token"] == 17 / 18
    assert report["heldout_documents"] == 2 and report["heldout_share"] == 0.5


def test_a_changed_file_is_another_store_in_the_cache_and_refused_elsewhere(corpus_file, fake_text, tmp_path):
    cached = prepare(lines(corpus_file), fake_text.Text())
    named = prepare(lines(corpus_file, store=str(tmp_path / "named")), fake_text.Text())
    assert cached.fingerprint == named.fingerprint
    raw = corpus_file.read_bytes()
    corpus_file.write_bytes(raw.replace(b"cat", b"dog", 1))  # same size
    changed = prepare(lines(corpus_file), fake_text.Text())
    assert changed.dir != cached.dir and changed.fingerprint != cached.fingerprint
    with pytest.raises(UserError, match="prepared from other files or settings"):
        prepare(lines(corpus_file, store=str(tmp_path / "named")), fake_text.Text())
    corpus_file.unlink()
    as_it_is = prepare(Data(source=None, store=str(tmp_path / "named")), fake_text.Text())
    assert as_it_is.fingerprint == named.fingerprint


def test_settings_that_shape_a_store_are_in_its_key(corpus_file, fake_text):
    dirs = {
        prepare(data, text).dir
        for data, text in [
            (lines(corpus_file), fake_text.Text()),
            (lines(corpus_file, heldout=0.2), fake_text.Text()),
            (lines(corpus_file, dedup=True), fake_text.Text()),
            (lines(corpus_file), fake_text.Text(tokenizer=fake_text.Bytes(vocab_size=300))),
            (Data(source=TextFiles(pattern=str(corpus_file), separator=" no ")), fake_text.Text()),
        ]
    }
    assert len(dirs) == 5
    assert prepare(lines(corpus_file, num_threads=1, max_bad=0.5), fake_text.Text()).dir in dirs


def test_a_damaged_store_is_built_again_in_the_cache_and_refused_elsewhere(corpus_file, fake_text, tmp_path):
    for store in (None, str(tmp_path / "named")):
        data = lines(corpus_file, store=store)
        corpus = prepare(data, fake_text.Text())
        before = tree(corpus.dir)
        path = Path(corpus.dir) / "train" / "tokens.bin"
        raw = bytearray(path.read_bytes())
        raw[7] ^= 4
        path.write_bytes(raw)
        if store is None:
            assert tree(prepare(data, fake_text.Text()).dir) == before
        else:
            with pytest.raises(UserError, match=r"tokens.bin: its bytes changed"):
                prepare(data, fake_text.Text())


def test_a_folder_of_the_users_is_never_replaced(corpus_file, fake_text, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="not a store"):
        prepare(lines(corpus_file, store=str(mine)), fake_text.Text())
    assert (mine / "thesis.tex").read_text() == "x"


def testgiven_tokenizer_is_used(corpus_file, fake_text, tmp_path):
    fake_text.Bytes(vocab_size=70_000).train(["x"], tmp_path / "tok")
    corpus = prepare(lines(corpus_file), fake_text.Text(), tokenizer=tmp_path / "tok")
    assert corpus.tokenizer.vocab_size == 70_000 and corpus.tokenizer.seen == ["x"]
    assert corpus.manifest["train"]["dtype"] == "<u4"
    assert sorted(decoded(corpus.train) + decoded(corpus.heldout)) == sorted(documents(300))


@pytest.mark.parametrize(("settings", "word"), [({"heldout": 1.0}, "heldout"), ({"max_bad": -1}, "max_bad")])
def test_shares_are_checked(corpus_file, fake_text, settings, word):
    with pytest.raises(UserError, match=word):
        prepare(lines(corpus_file, **settings), fake_text.Text())


def test_the_time_to_prepare_is_estimated_by_bytes_and_threads_without_building(corpus_file):
    one, cores = estimate(lines(corpus_file, num_threads=1))
    assert cores == 1 and one > 0
    assert estimate(lines(corpus_file, num_threads=4)) == (one / 4, 4)
    corpus_file.write_bytes(2 * corpus_file.read_bytes())
    assert estimate(lines(corpus_file, num_threads=1))[0] == pytest.approx(2 * one)
