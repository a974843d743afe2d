# SPDX-License-Identifier: Apache-2.0
"""GLUE: all nine tasks as one table, or one of them: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli.

    ssl-jax finetune glue --from runs/bert_base-phase2 --data glue_data --seeds 5 --only rte,mrpc,mnli
    ssl-jax finetune glue:rte --from runs/bert_base-phase2 --data glue_data
    ssl-jax evaluate runs/glue-rte --split test --data glue_data --out submission
    ssl-jax evaluate runs/glue-mnli --split ax --data glue_data --out submission

Without --data the tasks come from TFDS.  In the table RTE, MRPC and STS-B are also started from MNLI's model.

BERT's fine-tuning (Devlin et al. 2019, section 4.1): batches of 32, rate 2e-5, 10 % of warm-up, 3 epochs on
what has tens of thousands of examples.  AdamW corrects its bias here, and the small tasks get 10 epochs (CoLA
and STS-B 5): a few hundred steps are too few, and runs that fail altogether become rare (Zhang et al. 2021,
"Revisiting Few-sample BERT Fine-tuning"; Mosbach et al. 2021, "On the Stability of Fine-tuning BERT").
WNLI's dev set was built against its training set: what learns anything falls below the majority's 56.3, so
its number says nothing.

Hardware: one card of 16 GB, or a laptop for a small network.  Time: not yet measured.
Expect (dev, BERT-base cased, `transformers`' own README): CoLA 56.5 to 59.0, SST-2 92.3, MRPC 84.1 (F1 88.9),
QQP 90.7 (F1 87.5), STS-B 88.6 to 88.9, MNLI 83.9 and 84.1, QNLI 90.7, RTE 65, WNLI 37 to 56.  With the
networks pretrained here: not yet measured.
"""

from ssl_jax.data import Labelled
from ssl_jax.experiment import Experiment, Member, Suite
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Epochs, Loop
from ssl_jax.objectives import Classification
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.glue import Glue, GlueTask
from ssl_jax.text import Text


def config() -> Suite:
    tasks = {
        "cola": cola(),
        "sst2": sst2(),
        "mrpc": mrpc(),
        "qqp": qqp(),
        "stsb": stsb(),
        "mnli": mnli(),
        "qnli": qnli(),
        "rte": rte(),
        "wnli": wnli(),
    }
    return Suite(
        members=tuple(
            Member(name=name, experiment=one, after="mnli" if one.task.task.helped_by_mnli else None)
            for name, one in tasks.items()
        ),
        averaged=tuple(name for name in tasks if name != "wnli"),
        average="eight tasks without WNLI, each the mean of its metrics (accuracy and F1 of MRPC and QQP, "
        "Pearson and Spearman of STS-B, matched and mismatched of MNLI)",
    )


def cola() -> Experiment:
    return _experiment(GlueTask.COLA, epochs=5)


def sst2() -> Experiment:
    return _experiment(GlueTask.SST2, epochs=3)


def mrpc() -> Experiment:
    return _experiment(GlueTask.MRPC, epochs=10)


def qqp() -> Experiment:
    return _experiment(GlueTask.QQP, epochs=3)


def stsb() -> Experiment:
    return _experiment(GlueTask.STSB, epochs=5)


def mnli() -> Experiment:
    return _experiment(GlueTask.MNLI, epochs=3)


def qnli() -> Experiment:
    return _experiment(GlueTask.QNLI, epochs=3)


def rte() -> Experiment:
    return _experiment(GlueTask.RTE, epochs=10)


def wnli() -> Experiment:
    return _experiment(GlueTask.WNLI, epochs=10)


def _experiment(which: GlueTask, epochs: int) -> Experiment:
    task, tenth = Glue(task=which), 0.1  # each evaluation with a checkpoint, so that the best one is kept
    return Experiment(
        text=Text(tokenizer=None),
        task=task,
        objective=Classification(plan=Labelled(length=128), regression=task.regression),
        optim=Optim(peak_lr=2e-5, schedule=Linear(warmup=0.1), weight_decay=0.01),
        loop=Loop(duration=Epochs(epochs), batch_size=32),
        evals=Evals(every=tenth, batch_size=64),
        checkpoint=Checkpoint(every=tenth, keep_last=1, keep_best=1, best=task.metric, higher_is_better=True),
    )
