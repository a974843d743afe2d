# SPDX-License-Identifier: Apache-2.0
"""BERT-large with LAMB and a batch of 65,536 (You et al. 2020, table 1; NVIDIA/DeepLearningExamples, BERT).

    ssl-jax prepare bert_large:phase1 --set data.source='wikipedia/*.jsonl.gz'
    ssl-jax pretrain bert_large:phase1 --set data.source='wikipedia/*.jsonl.gz'
    ssl-jax pretrain bert_large:phase2 --set data.source='wikipedia/*.jsonl.gz' --from runs/bert_large-phase1

phase1: 7,038 steps at length 128, lr 6e-3, warm-up 28.43 %; phase2: 1,563 steps at length 512, a batch of
32,768, lr 4e-3, warm-up 12.8 %; polynomial decay of power 0.5.  The published final loss is 1.2437
(NVIDIA/DeepLearningExamples, PyTorch/LanguageModeling/BERT README).

Hardware: a pod.  Time: not yet measured; NVIDIA took 1.2 h on 256 A100 in mixed precision (the same README).
Expect: not yet measured.
"""

import dataclasses

from ssl_jax.data import Data, Pairs
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import BertPretraining
from ssl_jax.optim import Lamb, Optim, Polynomial
from ssl_jax.parallel import MeshConfig
from ssl_jax.text import SentencePiece, Text


def phase1() -> Experiment:
    return Experiment(
        model=BertConfig(num_layers=24, dim=1024, num_heads=16, compute_dtype="bfloat16"),
        objective=BertPretraining(plan=Pairs(length=128, short_seq_prob=0.1)),
        text=Text(tokenizer=SentencePiece(vocab_size=30_522)),
        data=Data(source="wikipedia", heldout=0.001),
        optim=Optim(
            algorithm=Lamb(),
            peak_lr=6e-3,
            schedule=Polynomial(warmup=0.2843, power=0.5, decay_from_start=True),
            weight_decay=0.01,
        ),
        mesh=MeshConfig(data=-1),
        loop=Loop(duration=Steps(7_038), batch_size=65_536, micro_batch=32, log_every=10),
        evals=Evals(every=500, max_rows=65_536),
        checkpoint=Checkpoint(every=200, keep_every=1_000),
    )


def phase2() -> Experiment:
    first = phase1()
    return dataclasses.replace(
        first,
        init="runs/bert_large-phase1",
        objective=BertPretraining(plan=Pairs(length=512, short_seq_prob=0.1)),
        optim=dataclasses.replace(
            first.optim,
            peak_lr=4e-3,
            schedule=Polynomial(warmup=0.128, power=0.5, decay_from_start=True),
        ),
        loop=dataclasses.replace(first.loop, duration=Steps(1_563), batch_size=32_768, micro_batch=8),
    )


config = phase1
