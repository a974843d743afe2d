# SPDX-License-Identifier: Apache-2.0
"""What a model is for: our objectives and the heads of `transformers`, in both directions."""

from typing import Any

from ssl_jax import models
from ssl_jax.hf.configs import family_of
from ssl_jax.hf.families import Family, Use
from ssl_jax.hf.options import Json
from ssl_jax.objectives import (
    BertPretraining,
    Classification,
    MaskedLm,
    NextToken,
    Read,
    SpanPrediction,
    Tagging,
)
from ssl_jax.types import Objective, UserError


def use_of(objective: Objective | None) -> Use | None:
    """None where no head of theirs predicts what this objective predicts."""
    match objective:
        case None:
            return Use.TRUNK
        case BertPretraining():
            return Use.PRETRAINING
        case MaskedLm():
            return Use.MASKED
        case NextToken():
            return Use.NEXT
        case Classification():
            return Use.CLASSES
        case Tagging():
            return Use.TAGS
        case SpanPrediction():
            return Use.SPANS
    return None


def inexpressible(config: models.TextConfig, objective: Objective | None) -> list[str]:
    """What of a recipe no architecture of `transformers` has, as `field=value`; [] where all can leave."""
    try:
        family = family_of(config)
    except UserError:
        return [f"model={type(config).__name__}"]
    wrong, use = family.misfits(config), use_of(objective)
    if use not in family.heads:
        return [*wrong, f"objective={type(objective).__name__} on {type(config).__name__}"]
    if isinstance(objective, Classification) and objective.read is not _read(config):
        wrong.append(f"objective.read={objective.read.name} ({_read(config).name} can be)")
    return wrong


def _read(config: models.TextConfig) -> Read:
    """Where the family's classifier of texts reads."""
    return Read.LAST if family_of(config).heads.get(Use.NEXT) else Read.POOLER


def objective_of(use: Use, config: models.TextConfig, values: Json) -> Objective | None:
    """The objective whose heads are these."""
    match use:
        case Use.TRUNK:
            return None
        case Use.PRETRAINING:
            return BertPretraining()
        case Use.MASKED:
            return MaskedLm()
        case Use.NEXT:
            return NextToken()
        case Use.CLASSES:
            return Classification(read=_read(config), regression=len(labels_of(values)) == 1)
        case Use.TAGS:
            return Tagging()
        case Use.SPANS:
            return SpanPrediction()


def labels_of(values: Json) -> tuple[str, ...]:
    """Names of the classes, in the order of their ids; two without a name where the config says nothing."""
    named = values.get("id2label")
    if named is None:
        return tuple(f"LABEL_{i}" for i in range(values.get("num_labels", 2)))
    by_id = {int(i): str(label) for i, label in named.items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise UserError(f"config.json: id2label does not count from 0 to {len(by_id) - 1}")
    return tuple(by_id[i] for i in range(len(by_id)))


def write_labels(use: Use, objective: Any, labels: tuple[str, ...]) -> Json:
    """The entries of config.json that say what the outputs mean."""
    if use not in (Use.CLASSES, Use.TAGS):
        return {}
    regression = use is Use.CLASSES and objective.regression
    names = ("LABEL_0",) if regression else labels
    kind = "regression" if regression else "single_label_classification"
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        **({"problem_type": kind} if use is Use.CLASSES else {}),
    }


def uses_in(family: Family, values: Json) -> list[Use]:
    """What a model may be for: first what config.json says, then what more its file may hold.

    bert-base-uncased, say, is called a masked language model, and holds all of BERT's pretraining.
    """
    (name, *_) = [*(values.get("architectures") or []), ""]
    ends = {head.architecture: use for use, head in family.heads.items()}
    prefixes = {"XLMRoberta": "Roberta"}
    for theirs, ours in prefixes.items():
        name = name.replace(theirs, ours)
    if name and name not in ends:
        raise UserError(
            f"config.json: architecture {name} is none that ssl_jax knows for {values['model_type']} "
            f"({', '.join(ends)})"
        )
    if values.get("problem_type") == "multi_label_classification":
        raise UserError(
            "config.json asks for what ssl_jax cannot express: problem_type=multi_label_classification"
        )
    if values.get("classifier_pooling", "cls") != "cls" and ends.get(name) is Use.CLASSES:
        raise UserError("config.json asks for what ssl_jax cannot express: classifier_pooling=mean")
    first = ends.get(name, Use.TRUNK)
    return [first, *([Use.PRETRAINING] if first is Use.MASKED and Use.PRETRAINING in family.heads else [])]
