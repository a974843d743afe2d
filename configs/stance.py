# SPDX-License-Identifier: Apache-2.0
"""The stance of a text toward a target, or of a comment toward an article.

    ssl-jax finetune stance --from runs/bert_base-phase2 --data tweets.tsv
    ssl-jax finetune stance:comment --from runs/bert_base-phase2 --data comments/

tweets.tsv has the columns text, target and label; a tenth is held out by a hash, or a folder has a file a
split.  The labels are those of the training data.  Natural-language inference of one's own is the same:
--set task.text=premise --set task.second=hypothesis.

What counts is the mean F1 of the classes, as in SemEval-2016's task 6 (there of favor and against alone),
since one class is usually rare.  10 epochs, since such sets are small (see glue.py); otherwise BERT's
fine-tuning.

Hardware: one card of 16 GB, or a laptop for a small network.  Time: not yet measured.
Expect: not yet measured.
"""

from ssl_jax.data import Labelled
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Epochs, Loop
from ssl_jax.objectives import Classification
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.columns import Columns
from ssl_jax.tasks.metrics import Measure
from ssl_jax.text import Text


def config() -> Experiment:
    """A short text; of the pair the target is read first."""
    return _experiment(first="target", second="text", length=128)


def comment() -> Experiment:
    """Columns article, text and label: of what doesn't fit, the longer of the two loses its end."""
    return _experiment(first="article", second="text", length=512)


def _experiment(first: str, second: str, length: int) -> Experiment:
    task = Columns(text=first, second=second, measures=(Measure.MACRO_F1, Measure.ACCURACY))
    return Experiment(
        text=Text(tokenizer=None),
        task=task,
        objective=Classification(plan=Labelled(length=length)),
        optim=Optim(peak_lr=2e-5, schedule=Linear(warmup=0.1), weight_decay=0.01),
        loop=Loop(duration=Epochs(10), batch_size=32),
        evals=Evals(every=0.1, batch_size=64),
        checkpoint=Checkpoint(every=0.1, keep_last=1, keep_best=1, best=task.metric, higher_is_better=True),
    )
