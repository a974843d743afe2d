# SPDX-License-Identifier: Apache-2.0
"""SQuAD: the part of a paragraph that answers a question (Devlin et al. 2019, sections 4.2 and 4.3).

    ssl-jax finetune squad --from MODEL                           # SQuAD 1.1 from TFDS
    ssl-jax finetune squad --from MODEL --data FOLDER             # its train-v1.1.json and dev-v1.1.json
    ssl-jax finetune squad:v2 --from MODEL --data FOLDER          # SQuAD 2.0: some questions have no answer
    ssl-jax finetune squad:zh --from MODEL --data FOLDER_OR_FILE  # a Chinese or Japanese set in its schema

MODEL's network and tokenizer; the published settings (google-research/bert, run_squad.py): windows of 384
with a stride of 128 and questions of 64 tokens, a rate of 3e-5 with 10 % warm-up, 2 epochs, 12 rows.  Adam's
bias is corrected here, in BERT's code it isn't.  v2 takes 32 rows and tunes its null threshold on a tenth of
the training paragraphs, which it doesn't train on.  zh takes windows of 512, longer answers (a token is
often one character), and compares answers by character.

Hardware: one accelerator of 16 GB for a BERT-base (--set loop.micro_batch=N for less).  Time: not yet
measured; 24 minutes on one V100 in `transformers` (question-answering README).  Expect, on the dev split,
for BERT-base-uncased: exact match 0.8125 and F1 0.8841 (google-research/bert README), 0.8122 and 0.8852
(`transformers` README); for v2 and BERT-large F1 0.784 with threshold 0 and 0.792 with the best
(transformers#152, #174).  Ours: not yet measured.
"""

import dataclasses

from ssl_jax.data import Outside, Windows
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Epochs, Loop
from ssl_jax.objectives import SpanPrediction
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.squad import Squad
from ssl_jax.tasks.squad_score import AnswerWords
from ssl_jax.text import Text


def v1() -> Experiment:
    task = Squad()
    return Experiment(
        objective=SpanPrediction(plan=Windows(length=384, stride=128, question=64)),
        text=Text(tokenizer=None),
        task=task,
        optim=Optim(peak_lr=3e-5, schedule=Linear(warmup=0.1), weight_decay=0.01),
        loop=Loop(duration=Epochs(2), batch_size=12),
        evals=Evals(every=0.2),
        # As often as it is measured: the null threshold of a checkpoint is what was tuned for it.
        checkpoint=Checkpoint(every=0.2, keep_best=1, best=task.metric, higher_is_better=True),
    )


def v2() -> Experiment:
    """Windows without their question's answer point to [CLS]: the null score is read from each of them."""
    first = v1()
    return dataclasses.replace(
        first,
        objective=SpanPrediction(plan=dataclasses.replace(first.objective.plan, outside=Outside.NULL)),
        task=Squad(version2=True),
        loop=Loop(duration=Epochs(2), batch_size=32),
    )


def zh() -> Experiment:
    first = v1()
    return dataclasses.replace(
        first,
        objective=SpanPrediction(plan=Windows(length=512, stride=128, question=64)),
        task=Squad(max_tokens=50, words=AnswerWords.CHARACTERS),
        loop=Loop(duration=Epochs(2), batch_size=32),
    )


config = v1
