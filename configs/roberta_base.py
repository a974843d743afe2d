# SPDX-License-Identifier: Apache-2.0
"""RoBERTa-base's recipe (Liu et al. 2019; fairseq config/pretraining/base.yaml): MLM alone, full rows of 512.

    ssl-jax prepare roberta_base --set data.source='corpus/*.jsonl.gz'
    ssl-jax pretrain roberta_base --set data.source='corpus/*.jsonl.gz'

125,000 steps of 2,048 rows, lr 5e-4, Adam (0.9, 0.98), no clipping.  Where fairseq lets a row cross document
boundaries, ours packs slices that don't see each other.  The trunk is BERT's without segment types, with norm
eps 1e-5; the vocabulary is 50,000 pieces of sentencepiece BPE in place of GPT-2's byte-level BPE.

Hardware: a pod (--set loop.micro_batch=N for less).  Time: not yet measured.  Expect: not yet measured.
"""

from ssl_jax.data import Data, Packed
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import MaskedLm
from ssl_jax.optim import AdamW, Linear, Optim
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=BertConfig(num_types=0, norm_eps=1e-5, compute_dtype="bfloat16"),
        objective=MaskedLm(plan=Packed(length=512)),
        text=Text(tokenizer=SentencePiece(vocab_size=50_000)),
        data=Data(source="corpus", heldout=0.001),
        optim=Optim(
            algorithm=AdamW(b2=0.98, eps=1e-6),
            peak_lr=5e-4,
            schedule=Linear(warmup=10_000),
            weight_decay=0.01,
            clip_norm=None,
        ),
        loop=Loop(duration=Steps(125_000), batch_size=2_048, micro_batch=16, log_every=50),
        evals=Evals(every=5_000, max_rows=32_768),
        checkpoint=Checkpoint(every=1_000, keep_every=25_000),
    )
