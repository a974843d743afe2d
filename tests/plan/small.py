# SPDX-License-Identifier: Apache-2.0
"""A small experiment to plan for, and a corpus for it."""

import dataclasses
from pathlib import Path

from ssl_jax.data import Chunks, Data, Unit
from ssl_jax.experiment import Experiment
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import GptConfig
from ssl_jax.objectives import NextToken
from ssl_jax.optim import Optim
from ssl_jax.parallel import MeshConfig
from ssl_jax.text import SentencePiece, Text
from tests.end_to_end.runs import documents

LAYERS, DIM, LENGTH, ROWS, VOCAB = 3, 16, 16, 32, 400


def experiment(source: str = "nowhere", micro_batch: int | None = 2, **mesh: int) -> Experiment:
    """Of fields that a plan shows: accumulation, an average, axes of the mesh."""
    return Experiment(
        model=GptConfig(num_layers=LAYERS, dim=DIM, num_heads=2, max_positions=LENGTH, dropout=0.0),
        objective=NextToken(plan=Chunks(length=LENGTH)),
        text=Text(tokenizer=SentencePiece(vocab_size=VOCAB)),
        data=Data(source=source, unit=Unit.LINE, heldout=0.1),
        optim=Optim(peak_lr=1e-3, ema=0.9),
        mesh=MeshConfig(**mesh),
        loop=Loop(duration=Steps(40), batch_size=ROWS, micro_batch=micro_batch),
    )


def with_corpus(folder: Path, **mesh: int) -> Experiment:
    file = folder / "corpus.txt"
    file.write_text("\n".join(documents(120)), encoding="utf-8")
    made = experiment(str(file), **mesh)
    return dataclasses.replace(made, data=dataclasses.replace(made.data, store=str(folder / "store")))
