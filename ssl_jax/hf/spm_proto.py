# SPDX-License-Identifier: Apache-2.0
"""A sentencepiece model file read without protobuf: the few fields of its ModelProto that an export needs."""

import enum
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from ssl_jax.types import UserError


class Kind(enum.IntEnum):
    """SentencePiece.Type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Proto:
    """pieces: (piece, score, kind) by id.  charsmap: the compiled normaliser, empty for identity."""

    pieces: list[tuple[str, float, Kind]]
    is_bpe: bool
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    collapse_spaces: bool


def read_proto(data: bytes) -> Proto:
    """Raises UserError where the bytes are no sentencepiece model of kind BPE or unigram."""
    try:
        model = _fields(data)
        pieces = [_piece(_fields(piece)) for piece in model[1]]
        trainer, normalizer = _fields(b"".join(model[2])), _fields(b"".join(model[3]))
    except (IndexError, struct.error, ValueError) as error:
        raise UserError(f"this is no sentencepiece model: {error}") from None
    model_type = _last(trainer[3], 1)
    if not pieces or model_type not in (1, 2):
        raise UserError("only sentencepiece models of the kinds unigram and BPE can be read")
    return Proto(
        pieces=pieces,
        is_bpe=model_type == 2,
        byte_fallback=bool(_last(trainer[35], 0)),
        charsmap=_last(normalizer[2], b""),
        dummy_prefix=bool(_last(normalizer[3], 1)),
        collapse_spaces=bool(_last(normalizer[4], 1)),
    )


def _piece(fields: dict[int, list[Any]]) -> tuple[str, float, Kind]:
    (score,) = struct.unpack("<f", _last(fields[2], b"\0\0\0\0"))
    return _last(fields[1], b"").decode(), score, Kind(_last(fields[3], 1))


def _last(values: list[Any], default: Any) -> Any:
    return values[-1] if values else default


def _fields(data: bytes) -> dict[int, list[Any]]:
    """Field number -> its values: integers of varints, bytes of everything else (protobuf's wire format)."""
    fields: dict[int, list[Any]] = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 2, 5):
            size, at = (8 if wire == 1 else 4, at) if wire != 2 else _varint(data, at)
            value, at = data[at : at + size], at + size
            if len(value) < size:
                raise ValueError("it ends early")
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        fields[number].append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
