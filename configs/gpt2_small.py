# SPDX-License-Identifier: Apache-2.0
"""GPT-2 small, 124 M parameters (Radford et al. 2019), in nanoGPT's 600,000 steps of 491,520 tokens.

    ssl-jax prepare gpt2_small --set data.source='openwebtext/*.jsonl.gz'
    ssl-jax pretrain gpt2_small --set data.source='openwebtext/*.jsonl.gz'

AdamW (0.9, 0.95), lr 6e-4 with 2,000 steps of warm-up, cosine to a tenth, weight decay 0.1, no dropout.

Hardware: 8 cards of 40 GB.  Time: not yet measured; nanoGPT takes about 4 days on 8 A100 of 40 GB and
reaches a loss of about 2.85 on OpenWebText with GPT-2's own tokenizer (karpathy/nanoGPT README).  Expect: not
yet measured.
"""

from ssl_jax.data import Chunks, Data
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import GptConfig
from ssl_jax.objectives import NextToken
from ssl_jax.optim import AdamW, Cosine, Optim
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=GptConfig(dropout=0.0, attention_dropout=0.0, compute_dtype="bfloat16"),
        objective=NextToken(plan=Chunks(length=1024)),
        text=Text(tokenizer=SentencePiece(vocab_size=50_257)),
        data=Data(source="openwebtext", heldout=0.0005),
        optim=Optim(
            algorithm=AdamW(b2=0.95),
            peak_lr=6e-4,
            schedule=Cosine(warmup=2_000, final=0.1),
            weight_decay=0.1,
        ),
        loop=Loop(duration=Steps(600_000), batch_size=480, micro_batch=12, log_every=50),
        evals=Evals(every=5_000, max_rows=4_096),
        checkpoint=Checkpoint(every=2_000, keep_every=50_000),
    )
