# SPDX-License-Identifier: Apache-2.0
"""BERT-base (Devlin et al. 2019, section A.2): 90 % of the steps at length 128, then 10 % at 512.

    ssl-jax prepare bert_base:phase1 --set data.source='wikipedia/*.jsonl.gz'
    ssl-jax pretrain bert_base:phase1 --set data.source='wikipedia/*.jsonl.gz'
    ssl-jax pretrain bert_base:phase2 --set data.source='wikipedia/*.jsonl.gz' --from runs/bert_base-phase1

Masked language model and next sentence prediction, Adam without bias correction, linear decay from the first
step on, a global batch of 256 rows: as published (google-research/bert, optimization.py and README).
phase2 starts from phase1's weights; `config` is phase1.

Hardware: 8 accelerators of 16 GB or more (--set loop.micro_batch=N for less).  Time: not yet measured; the
authors took 4 days on 4 to 16 Cloud TPUs (google-research/bert README).  Expect: not yet measured.
"""

import dataclasses

from ssl_jax.data import Data, Pairs
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import BertPretraining
from ssl_jax.optim import AdamW, Linear, Optim
from ssl_jax.text import SentencePiece, Text


def phase1() -> Experiment:
    return Experiment(
        model=BertConfig(compute_dtype="bfloat16"),
        objective=BertPretraining(plan=Pairs(length=128, short_seq_prob=0.1)),
        text=Text(tokenizer=SentencePiece(vocab_size=30_522)),
        data=Data(source="wikipedia", heldout=0.001),
        optim=Optim(
            algorithm=AdamW(eps=1e-6, bias_correction=False),
            peak_lr=1e-4,
            schedule=Linear(warmup=10_000, decay_from_start=True),
            weight_decay=0.01,
        ),
        loop=Loop(duration=Steps(900_000), batch_size=256, log_every=100),
        evals=Evals(every=10_000, max_rows=65_536),
        checkpoint=Checkpoint(every=5_000, keep_every=100_000),
    )


def phase2() -> Experiment:
    """Length 512 for the last tenth, from phase1's weights (init, unless --from says otherwise)."""
    first = phase1()
    return dataclasses.replace(
        first,
        init="runs/bert_base-phase1",
        objective=BertPretraining(plan=Pairs(length=512, short_seq_prob=0.1)),
        loop=dataclasses.replace(first.loop, duration=Steps(100_000)),
    )


config = phase1
