# SPDX-License-Identifier: Apache-2.0
"""ModernBERT-base's architecture and first stage (Warner et al. 2024, sections 2.1 and 2.2), on your corpus.

    ssl-jax prepare modern_bert_base --set data.source='corpus/*.jsonl.gz'
    ssl-jax pretrain modern_bert_base --set data.source='corpus/*.jsonl.gz'

Bias-free LayerNorm, GeGLU, RoPE, local and global attention in turn, 30 % masked, packed rows of 1,024.  The
authors' stage took 1.719 T tokens in batches of 4,608 rows with StableAdamW at 8e-4; here it is AdamW with
clipping, and no batch-size warm-up.

Hardware: a pod (--set loop.micro_batch=N for less).  Time: not yet measured.  Expect: not yet measured.
"""

from ssl_jax import nn
from ssl_jax.data import Data, Packed
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Tokens
from ssl_jax.models import ModernConfig
from ssl_jax.objectives import MaskedLm, Masking
from ssl_jax.optim import AdamW, Optim, WarmupStableDecay
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=ModernConfig(compute_dtype="bfloat16", kernel=nn.Kernel.BLOCKS),
        objective=MaskedLm(plan=Packed(length=1024), masking=Masking(rate=0.3)),
        text=Text(tokenizer=SentencePiece(vocab_size=50_368)),
        data=Data(source="corpus", heldout=0.001),
        optim=Optim(
            algorithm=AdamW(b2=0.98, eps=1e-6),
            peak_lr=8e-4,
            schedule=WarmupStableDecay(warmup=640, decay=0.03),
            weight_decay=1e-2,
        ),
        loop=Loop(duration=Tokens(1_719_000_000_000), batch_size=4_608, micro_batch=36, log_every=20),
        evals=Evals(every=5_000, max_rows=32_768),
        checkpoint=Checkpoint(every=1_000, keep_every=25_000),
    )
