# SPDX-License-Identifier: Apache-2.0
"""GPT-2 XL, 1.56 B parameters (Radford et al. 2019, table 2): gpt2_small's recipe, deeper and wider.

    ssl-jax plan gpt2_xl --topology v6e:16x16
    ssl-jax prepare gpt2_xl --set data.source='openwebtext/*.jsonl.gz'
    ssl-jax pretrain gpt2_xl --set data.source='openwebtext/*.jsonl.gz'

Batches of 512 rows as the authors'.  The peak rate is GPT-3 XL's, 2e-4 (Brown et al. 2020, table 2.1).

Hardware: a pod of 256 chips of 32 GB, or 8 cards of 80 GB and patience.  Time: not yet measured.  Expect: not
yet measured.
"""

import dataclasses

from ssl_jax.configs import gpt2_small

from ssl_jax import nn
from ssl_jax.experiment import Experiment
from ssl_jax.models import GptConfig
from ssl_jax.parallel import MeshConfig


def config() -> Experiment:
    small = gpt2_small.config()
    return dataclasses.replace(
        small,
        model=GptConfig(
            num_layers=48,
            dim=1600,
            num_heads=25,
            dropout=0.0,
            attention_dropout=0.0,
            compute_dtype="bfloat16",
            remat=nn.Remat.DOTS,
        ),
        optim=dataclasses.replace(small.optim, peak_lr=2e-4),
        mesh=MeshConfig(fsdp=8),
        loop=dataclasses.replace(small.loop, batch_size=512, micro_batch=2),
    )
