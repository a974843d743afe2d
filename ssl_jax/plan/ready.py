# SPDX-License-Identifier: Apache-2.0
"""What a run would find prepared: the tokenizer, the store and the plan; and how long it is to be."""

from dataclasses import dataclass, field
from typing import Any

from ssl_jax import data
from ssl_jax.data.order import given_tokenizer
from ssl_jax.experiment import Experiment
from ssl_jax.loop.loop import Epochs, Steps, Tokens, num_steps
from ssl_jax.types import OpenPlan, Specials, Tokenizer, UserError


@dataclass(frozen=True)
class StandIn:
    """A tokenizer of which the size alone is known, for one that is still to be trained."""

    vocab_size: int
    fingerprint: str = ""
    specials: Specials = field(
        default_factory=lambda: Specials(pad=0, unk=1, cls=2, sep=3, mask=4, bos=5, eos=6)
    )

    @property
    def undrawable(self) -> frozenset[int]:
        return self.specials.ids()


@dataclass(frozen=True)
class Ready:
    """tokenizer: the run's own, or a stand-in.  plan: None where there is no store yet.  lines: for people,
    one each for tokenizer, store and plan."""

    tokenizer: Tokenizer
    plan: OpenPlan | None
    lines: dict[str, str]

    @property
    def everything(self) -> bool:
        return self.plan is not None

    def num_steps(self, experiment: Experiment) -> int | None:
        """The run's steps; None where they depend on a store that isn't there.

        Tokens without a store are counted as if every row were full.
        """
        duration, batch_size = experiment.loop.duration, experiment.loop.batch_size
        if self.plan is not None:
            return num_steps(duration, batch_size, self.plan.num_rows, self.plan.num_tokens)
        match duration:
            case Steps():
                return num_steps(duration, batch_size, 1, 1)
            case Tokens():
                return num_steps(duration, batch_size, 1, experiment.objective.plan.length)
            case Epochs():
                return None


def ready(experiment: Experiment) -> Ready:
    """Looks, and builds nothing but the plan's cache."""
    corpus, why = None, "not prepared"
    try:
        corpus = data.prepared(experiment.data, experiment.text)
    except UserError as error:
        why = f"not prepared, and the corpus isn't here: {error}"
    if corpus is not None:
        plan = experiment.objective.plan.open(corpus.train, experiment.seed)
        lines = {
            "tokenizer": f"ready, {corpus.tokenizer.vocab_size:,} tokens",
            "store": f"ready, {corpus.dir}",
            "plan": f"ready, {plan.num_rows:,} rows, {plan.num_tokens:,} tokens an epoch",
        }
        return Ready(corpus.tokenizer, plan, lines)
    tokenizer, how = _without_corpus(experiment.text)
    return Ready(tokenizer, None, {"tokenizer": how, "store": why, "plan": "after the store"})


def _without_corpus(text: Any) -> tuple[Tokenizer, str]:
    if text.tokenizer.trains:
        size = text.tokenizer.vocab_size
        return StandIn(size), f"to be trained; planned for its {size:,} tokens"
    tokenizer = given_tokenizer(text)
    return tokenizer, f"ready, {tokenizer.vocab_size:,} tokens"
