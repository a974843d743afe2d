# SPDX-License-Identifier: Apache-2.0
"""A BERT for any language in about a day on one 24 GB card: give it your own text.

    ssl-jax pretrain bert_one_gpu --set data.source='corpus/*.txt.xz'

BERT-base in bfloat16, masked language model alone in packed rows (no sentence pairs, so any document will
do), a 32,000-piece vocabulary trained on the text.  The masking rate and dropout are those that short budgets
prefer (Geiping and Goldstein 2022, "Cramming", section 4.3; Portes et al. 2023, MosaicBERT, section 2: 30 %
masked in training).

Hardware: one card of 24 GB.  Time: not yet measured.  Expect: not yet measured.
"""

from ssl_jax.data import Data, Packed
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import MaskedLm, Masking
from ssl_jax.optim import AdamW, Linear, Optim
from ssl_jax.text import SentencePiece, Text


def config() -> Experiment:
    return Experiment(
        model=BertConfig(dropout=0.0, attention_dropout=0.0, compute_dtype="bfloat16", scan=False),
        objective=MaskedLm(plan=Packed(length=128), masking=Masking(rate=0.3)),
        text=Text(tokenizer=SentencePiece(vocab_size=32_000)),
        data=Data(source="corpus", heldout=0.005),
        optim=Optim(
            algorithm=AdamW(b2=0.98, eps=1e-6),
            peak_lr=5e-4,
            schedule=Linear(warmup=0.06, final=0.02),
            weight_decay=1e-2,
        ),
        loop=Loop(duration=Steps(70_000), batch_size=2048, micro_batch=128, log_every=50),
        evals=Evals(every=2_000, max_rows=16_384),
        checkpoint=Checkpoint(every=2_000, keep_every=10_000),
    )
