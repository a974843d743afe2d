# SPDX-License-Identifier: Apache-2.0
"""Token tagging: named entities in CoNLL columns (`ner`), parts of speech in CoNLL-U (`pos`).

    ssl-jax finetune tagging:ner --from runs/bert_base-phase2 --data conll2003
    ssl-jax finetune tagging:pos --from runs/bert_base-phase2 --data UD_English-EWT

The folder holds a file for each of train, dev and test under the usual names (eng.train, eng.testa,
train.txt, en_ewt-ud-dev.conllu.xz ...); task.train, task.dev and task.test say others, and task.columns says
which column holds what.  A script without spaces wants --set task.separator='' and
--set objective.plan.separator=''.  BIO, IOB1 and BIOES need no setting.  Rate, epochs and batch are from the
ranges that Devlin et al. 2019 (section A.3) searched: 5e-5, 4 and 32.

Hardware: one accelerator, or for small models a CPU.  Time: not yet measured.  Expect: not yet measured;
published for BERT-base (cased, with the document around each sentence, where these recipes see the sentence
alone) on CoNLL-2003 are F1 96.4 on dev and 92.4 on test (Devlin et al. 2019, table 7).
"""

from ssl_jax.data import Tagged
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Epochs, Loop
from ssl_jax.objectives import Tagging
from ssl_jax.optim import AdamW, Linear, Optim
from ssl_jax.tasks.conll import Conll, TagMetric
from ssl_jax.tasks.tagged import Columns, Features
from ssl_jax.text import Text


def _recipe(task: Conll) -> Experiment:
    return Experiment(
        objective=Tagging(plan=Tagged(length=128, separator=task.separator)),
        text=Text(tokenizer=None),
        task=task,
        optim=Optim(algorithm=AdamW(eps=1e-6), peak_lr=5e-5, schedule=Linear(warmup=0.1), weight_decay=0.01),
        loop=Loop(duration=Epochs(4), batch_size=32, log_every=20),
        evals=Evals(every=0.1),
        checkpoint=Checkpoint(every=0.1, keep_best=1, best=task.metric, higher_is_better=True),
    )


def ner() -> Experiment:
    """Without --data: TFDS's conll2003."""
    return _recipe(Conll(builder=Features(name="conll2003")))


def pos() -> Experiment:
    """The universal tags of CoNLL-U's fourth column; --set task.columns.tag=4 takes the language's own."""
    return _recipe(Conll(by=TagMetric.WORDS, columns=Columns(word=1, tag=3, number=0, comment="#")))


config = ner
