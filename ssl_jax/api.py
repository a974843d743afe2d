# SPDX-License-Identifier: Apache-2.0
"""What `ssl_jax.load` returns: a MODEL and what one does with it, whatever it was trained for."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ssl_jax import weights
from ssl_jax.source import experiment_of
from ssl_jax.tasks.squad import Squad
from ssl_jax.use import generate as generation
from ssl_jax.use import guess, score
from ssl_jax.use.embed import Vectors, embed
from ssl_jax.use.generate import Generated
from ssl_jax.use.guess import Guess
from ssl_jax.use.heads import Answering
from ssl_jax.use.inputs import Line
from ssl_jax.use.likelihood import Reader
from ssl_jax.use.predict import Predictor
from ssl_jax.use.predictions import Prediction
from ssl_jax.use.score import Perplexity


class Model:
    """A model ready for use.  Each method raises UserError where the model has no head for it.

    loaded: the network, its objective and tokenizer, and the `nn.Model` itself.
    """

    def __init__(self, loaded: weights.Loaded):
        self.loaded = loaded
        self._predictors: dict[int, Predictor] = {}

    @property
    def tokenizer(self) -> Any:
        return self.loaded.tokenizer

    def fill_mask(self, text: str, top: int = 5) -> list[list[Guess]]:
        """For each [MASK] in the text the `top` likeliest tokens, with their probabilities."""
        return guess.fill_mask(self.loaded.model, self.tokenizer, text, top)

    def generate(self, prompt: str, **how: Any) -> Generated:
        """What follows the prompt; how: as in `use.generate.generate` (max_tokens, sampling, seed, watch)."""
        return next(self.generate_all([prompt], **how))

    def generate_all(self, prompts: Iterable[str], **how: Any) -> Iterator[Generated]:
        """The same for any number of prompts, batch_size of them at a time."""
        return generation.generate(self.loaded.model, self.tokenizer, prompts, **how)

    def predict(self, *texts: str) -> Prediction:
        """What the model's head says of a text or of two: a pair, or a question and its context."""
        return next(self.predict_all([Line("", texts)], batch_size=1))

    def predict_all(self, lines: Iterable[Line], batch_size: int = 32) -> Iterator[Prediction]:
        """The same for any number of texts (use.inputs.read reads them from a file)."""
        if batch_size not in self._predictors:
            loaded = self.loaded
            self._predictors[batch_size] = Predictor(
                loaded.model, loaded.objective, loaded.network.text, batch_size, as_measured(loaded)
            )
        return self._predictors[batch_size](lines)

    def embed(self, texts: Sequence[str], **how: Any) -> Vectors:
        """Vectors of tokens, words or sentences; how: by, word, layers, pool, as in `use.embed.stream`."""
        loaded = self.loaded
        return embed(loaded.model, self.tokenizer, texts, **{"text": loaded.network.text, **how})

    def score(self, texts: Iterable[str], **how: Any) -> Perplexity:
        """Perplexity and bits per byte of documents; how: window and stride, as in `use.score.perplexity`."""
        return score.perplexity(self.reader, self.tokenizer, texts, **how)

    @functools.cached_property
    def reader(self) -> Reader:
        """Of log probabilities, for the measures in `use.score`."""
        return Reader(self.loaded.model, self.tokenizer)


def load(model: str | Path) -> Model:
    """MODEL: a workdir, WORKDIR@STEP or an exported directory.  Raises UserError that says what is there."""
    return Model(weights.load(str(model)))


def as_measured(loaded: weights.Loaded) -> Answering:
    """When a model of questions answers, and how long at most: as its task measured it."""
    run = experiment_of(loaded.source) if loaded.source is not None else None
    if run is None or not isinstance(run.task, Squad):
        return Answering()
    task = run.task.tuned(loaded.source.measured)
    return Answering(null_threshold=task.null_threshold or 0.0, max_tokens=task.max_tokens)
