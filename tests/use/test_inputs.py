# SPDX-License-Identifier: Apache-2.0
"""Files of texts: what each kind of line is, and what is wrong with one, by file and line."""

import gzip

import pytest

from ssl_jax.types import UserError
from ssl_jax.use.inputs import bucket, read


def texts(path, content: str | bytes):
    if isinstance(content, str):
        content = content.encode()
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(content)
    return [line.texts for line in read(path)]


def test_what_a_line_is(tmp_path):
    plain = "one two\r\n\n  \nthree\t四"
    assert texts(tmp_path / "a.txt", plain) == [("one two",), ("three\t四",)]
    assert texts(tmp_path / "a.tsv", plain) == [("one two",), ("three", "四")]
    lines = ['"one"', '["a", "b"]', '{"text": "a", "second": "b", "id": 3}', '{"text": "a"}']
    lines += ['{"question": "q", "context": "c"}', '{"prompt": "p"}']
    found = texts(tmp_path / "a.jsonl.gz", "\n".join(lines))
    assert found == [("one",), ("a", "b"), ("a", "b"), ("a",), ("q", "c"), ("p",)]


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        ("a.jsonl", "{", "not JSON"),
        ("a.jsonl", "3", "not a text"),
        ("a.jsonl", '{"label": "x"}', "none of the fields text and second"),
        ("a.jsonl", '["a", "b", "c"]', "3 texts"),
        ("a.tsv", "a\tb\tc", "3 texts"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, line, what):
    with pytest.raises(UserError, match=rf"{name}: line 3: .*{what}"):
        texts(tmp_path / name, f'"good"\n\n{line}')


def test_a_bad_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        list(read(tmp_path / "b.txt"))
    with pytest.raises(UserError, match=r"a.txt: byte 2 \(line 2\): not UTF-8"):
        texts(tmp_path / "a.txt", b"a\n\xe5")


def test_few_lengths():
    assert [bucket(n, 1000) for n in (1, 64, 65, 600, 1000)] == [64, 64, 128, 1000, 1000]
