# SPDX-License-Identifier: Apache-2.0
"""GPT-2 medium, 355 M parameters (Radford et al. 2019): gpt2_small's recipe, deeper and wider.

    ssl-jax prepare gpt2_medium --set data.source='openwebtext/*.jsonl.gz'
    ssl-jax pretrain gpt2_medium --set data.source='openwebtext/*.jsonl.gz'

The peak rate is GPT-3's for this size, 3e-4 (Brown et al. 2020, table 2.1).

Hardware: 8 cards of 80 GB.  Time: not yet measured.  Expect: not yet measured.
"""

import dataclasses

from ssl_jax.configs import gpt2_small

from ssl_jax.experiment import Experiment
from ssl_jax.models import GptConfig


def config() -> Experiment:
    small = gpt2_small.config()
    return dataclasses.replace(
        small,
        model=GptConfig(
            num_layers=24,
            dim=1024,
            num_heads=16,
            dropout=0.0,
            attention_dropout=0.0,
            compute_dtype="bfloat16",
        ),
        optim=dataclasses.replace(small.optim, peak_lr=3e-4),
        loop=dataclasses.replace(small.loop, micro_batch=6),
    )
