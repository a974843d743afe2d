# SPDX-License-Identifier: Apache-2.0
"""A modern GPT of 7 B parameters: Qwen3-8B's trunk (Yang et al. 2025, table 1) with a smaller vocabulary.

    ssl-jax plan modern_gpt_7b --topology v5p:16x16x16
    ssl-jax prepare modern_gpt_7b --set data.source='corpus/*.jsonl.gz'
    ssl-jax pretrain modern_gpt_7b --set data.source='corpus/*.jsonl.gz'

Rate, schedule, decay and batches of 4 M tokens are Llama 2's (Touvron et al. 2023, section 2.2): AdamW (0.9,
0.95), 3e-4 after 2,000 steps of warm-up, cosine to a tenth, 2 T tokens.

Hardware: a pod of 256 to 4,096 chips of 95 GB.  Time: not yet measured.  Expect: not yet measured.
"""

import dataclasses

from ssl_jax.configs import modern_gpt_small

from ssl_jax import nn
from ssl_jax.data import Chunks
from ssl_jax.experiment import Experiment
from ssl_jax.loop.loop import Steps
from ssl_jax.objectives import NextToken
from ssl_jax.optim import AdamW, Cosine, Optim
from ssl_jax.parallel import MeshConfig


def config() -> Experiment:
    small = modern_gpt_small.config()
    return dataclasses.replace(
        small,
        model=dataclasses.replace(
            small.model,
            num_layers=36,
            dim=4096,
            num_heads=32,
            num_kv_heads=8,
            head_dim=128,
            mlp_dim=12_288,
            remat=nn.Remat.FULL,
        ),
        objective=NextToken(plan=Chunks(length=4096)),
        optim=Optim(
            algorithm=AdamW(b2=0.95),
            peak_lr=3e-4,
            schedule=Cosine(warmup=2_000, final=0.1),
            weight_decay=0.1,
        ),
        mesh=MeshConfig(fsdp=64, tensor=4),
        loop=dataclasses.replace(small.loop, duration=Steps(500_000), batch_size=1_024, micro_batch=1),
    )
