# SPDX-License-Identifier: Apache-2.0
"""The sentiment of a text: your own files, or the film reviews of IMDB.

    ssl-jax finetune sentiment --from runs/bert_base-phase2 --data reviews.tsv
    ssl-jax finetune sentiment --from runs/bert_base-phase2 --data reviews/ --set task.label=stars
    ssl-jax finetune sentiment:imdb --from runs/bert_base-phase2

reviews.tsv (or .csv, .jsonl; .gz, .xz, .zst) has the columns text and label; a tenth of its texts, chosen by
a hash of each, is held out.  A folder has a file a split: train.tsv, dev.tsv, test.tsv.  The labels are those
of the training data.

BERT's fine-tuning (Devlin et al. 2019, section 4.1): batches of 32, rate 2e-5, 10 % of warm-up, 3 epochs.

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
from ssl_jax.text import Text


def config() -> Experiment:
    return _experiment(Columns(), length=128)


def imdb() -> Experiment:
    """Maas et al. 2011, by TFDS: a tenth of the 25,000 training reviews is held out (`evaluate --split test`
    measures on the other 25,000); of a review longer than 256 tokens the beginning is read."""
    return _experiment(
        Columns(data="tfds:imdb_reviews", label_names=("neg", "pos"), dev_split=None), length=256
    )


def _experiment(task: Columns, length: int) -> Experiment:
    tenth = 0.1  # each evaluation with a checkpoint, so that the best one is kept
    return Experiment(
        text=Text(tokenizer=None),
        task=task,
        objective=Classification(plan=Labelled(length=length)),
        optim=Optim(peak_lr=2e-5, schedule=Linear(warmup=0.1), weight_decay=0.01),
        loop=Loop(duration=Epochs(3), batch_size=32),
        evals=Evals(every=tenth, batch_size=64),
        checkpoint=Checkpoint(every=tenth, keep_last=1, keep_best=1, best=task.metric, higher_is_better=True),
    )
