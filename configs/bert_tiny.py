# SPDX-License-Identifier: Apache-2.0
"""BERT on a laptop: masked language model and next sentence prediction, from what Python itself carries.

    ssl-jax pretrain bert_tiny

Hardware: 2 CPU cores.  Time: not yet measured.  Expect: not yet measured.
"""

from ssl_jax.data import Data
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives.bert import BertPretraining
from ssl_jax.optim import AdamW, Linear, Optim
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=BertConfig(
            num_layers=4,
            dim=192,
            num_heads=3,
            max_positions=128,
            dropout=0.0,
            attention_dropout=0.0,
            scan=False,
        ),
        objective=BertPretraining(plan=Pairs(length=128)),
        text=Text(tokenizer=SentencePiece(vocab_size=4096)),
        data=Data(source="python-docs", heldout=0.05),
        optim=Optim(
            algorithm=AdamW(b2=0.98, eps=1e-6), peak_lr=2e-3, schedule=Linear(warmup=0.1), weight_decay=0.01
        ),
        loop=Loop(duration=Steps(800), batch_size=32, log_every=10),
        evals=Evals(every=400),
        checkpoint=Checkpoint(every=200),
    )
