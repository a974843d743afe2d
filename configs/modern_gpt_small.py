# SPDX-License-Identifier: Apache-2.0
"""A small modern GPT with Qwen3's architecture (Yang et al. 2025, section 2).

RMSNorm, SwiGLU, QK norm, grouped queries, RoPE, tied embeddings.

    ssl-jax prepare modern_gpt_small --set data.source='corpus/*.jsonl.gz'
    ssl-jax pretrain modern_gpt_small --set data.source='corpus/*.jsonl.gz'

Muon on the matrices, AdamW on the rest (Liu et al. 2025, "Muon is scalable", section 2.2, for the scale that
lets both share a rate); warm-up, stable, decay: a longer run may go on from before the decay.

Hardware: 8 cards of 40 GB.  Time: not yet measured.  Expect: not yet measured.
"""

from ssl_jax import nn
from ssl_jax.data import Chunks, Data
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import ModernConfig
from ssl_jax.objectives import NextToken
from ssl_jax.optim import Muon, Optim, WarmupStableDecay
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=ModernConfig(
            num_layers=12,
            dim=768,
            num_heads=12,
            num_kv_heads=4,
            head_dim=64,
            mlp_dim=2048,
            max_positions=4096,
            activation=nn.Activation.SILU,
            norm=nn.NormKind.RMS,
            norm_eps=1e-6,
            qk_norm=True,
            causal=True,
            global_every=1,
            global_theta=1_000_000.0,
            embedding_norm=False,
            first_attention_norm=True,
            init_truncated=False,
            compute_dtype="bfloat16",
        ),
        objective=NextToken(plan=Chunks(length=1024)),
        text=Text(tokenizer=SentencePiece(vocab_size=50_257)),
        data=Data(source="corpus", heldout=0.0005),
        optim=Optim(
            algorithm=Muon(),
            peak_lr=1e-3,
            schedule=WarmupStableDecay(warmup=500, decay=0.2),
            weight_decay=0.1,
        ),
        loop=Loop(duration=Steps(40_000), batch_size=480, micro_batch=12, log_every=50),
        evals=Evals(every=2_000, max_rows=4_096),
        checkpoint=Checkpoint(every=1_000, keep_every=10_000),
    )
