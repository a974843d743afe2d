# SPDX-License-Identifier: Apache-2.0
"""Tokens, one at a time, as the text that each adds (host)."""

from collections.abc import Sequence

from ssl_jax.types import Tokenizer

PARTIAL = "\N{REPLACEMENT CHARACTER}"  # what decoders make of bytes that are no character yet


class TextStream:
    """The text that follows the tokens `before`, in whole characters.

    Only a window of tokens is decoded: those of the last text given out, for the space between the two, and
    those after it.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]):
        self._tokenizer = tokenizer
        self._window = [int(i) for i in before]
        self._told = len(self._window)  # of the window's tokens

    def push(self, token: int) -> str:
        """What the token adds; nothing while it ends within a character."""
        self._window.append(int(token))
        text = self._untold()
        if not text or text.endswith(PARTIAL):
            return ""
        self._window, self._told = self._window[self._told :], len(self._window) - self._told
        return text

    def rest(self) -> str:
        """What was held back; the stream has ended."""
        return self._untold()

    def _untold(self) -> str:
        told = self._tokenizer.decode(self._window[: self._told])
        return self._tokenizer.decode(self._window)[len(told) :]
