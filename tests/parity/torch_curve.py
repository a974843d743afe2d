# SPDX-License-Identifier: Apache-2.0
"""The same training run in torch: the model of `transformers` with its own loss, torch's AdamW and clipping.

Imports torch only when called.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from tests.models.tiny import FAMILIES, VOCAB
from tests.parity.curve import LENGTH, OPTIM, Run, batches
from tests.parity.names import NAMES
from tests.parity.peers import BUILDERS, load

IGNORED = -100  # a label that torch's cross entropy leaves out


def bert_loss(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, float]]:
    """(loss, {"mlm", "nsp"}) of BertForPreTraining."""
    import torch

    labels = np.full(batch["tokens"].shape, IGNORED)
    for row, where, targets, weights in zip(labels, batch["where"], batch["targets"], batch["weights"]):
        row[where[weights > 0]] = targets[weights > 0]
    labels = torch.tensor(labels)
    out = model(
        **inputs(batch),
        labels=labels,
        next_sentence_label=torch.tensor(batch["is_random"]).long(),
    )
    mlm = torch.nn.functional.cross_entropy(out.prediction_logits.view(-1, VOCAB), labels.view(-1))
    return out.loss, {"mlm": mlm.item(), "nsp": (out.loss - mlm).item()}


def gpt2_loss(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, float]]:
    """(loss, {"lm"}) of GPT2LMHeadModel, which shifts the labels itself.

    Each document of a packed row is a padded row of its own: what it reads and the last token to predict.
    """
    import torch

    tokens, attention = [], []
    for read, targets, segments in zip(batch["tokens"], batch["targets"], batch["segments"]):
        for number in range(1, segments.max() + 1):
            here = np.flatnonzero(segments == number)
            document = np.append(read[here], targets[here[-1]])
            spare = LENGTH + 1 - len(document)
            tokens.append(np.pad(document, (0, spare)))
            attention.append(np.pad(np.ones(len(document), np.int64), (0, spare)))
    tokens, attention = torch.tensor(np.array(tokens)).long(), torch.tensor(np.array(attention))
    labels = torch.where(attention == 1, tokens, IGNORED)
    loss = model(input_ids=tokens, attention_mask=attention, labels=labels).loss
    return loss, {"lm": loss.item()}


def tagging_loss(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, float]]:
    """(loss, {"nll"}) of BertForTokenClassification."""
    import torch

    labels = torch.tensor(np.where(batch["weights"] > 0, batch["labels"], IGNORED)).long()
    loss = model(**inputs(batch), labels=labels).loss
    return loss, {"nll": loss.item()}


def spans_loss(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, float]]:
    """(loss, {"nll"}) of BertForQuestionAnswering; a position beyond the row is left out."""
    import torch

    places = [np.where(batch["weight"] > 0, batch[name], LENGTH) for name in ("start", "end")]
    start, end = (torch.tensor(place).long() for place in places)
    loss = model(**inputs(batch), start_positions=start, end_positions=end).loss
    return loss, {"nll": loss.item()}


def sentence_loss(model: Any, batch: dict[str, np.ndarray]) -> tuple[Any, dict[str, float]]:
    """(loss, {"nll"} or {"mse"}) of BertForSequenceClassification."""
    import torch

    classes = model.config.num_labels > 1
    labels = torch.tensor(np.where(batch["weight"] > 0, batch["label"], IGNORED))
    loss = model(**inputs(batch), labels=labels.long() if classes else labels).loss
    return loss, {"nll" if classes else "mse": loss.item()}


def inputs(batch: dict[str, np.ndarray]) -> dict[str, Any]:
    """What BERT reads, as `transformers` names it."""
    import torch

    names = {"input_ids": "tokens", "attention_mask": "segments", "token_type_ids": "types"}
    return {theirs: torch.tensor(batch[ours]).long() for theirs, ours in names.items()}


LOSSES = {
    "bert": bert_loss,
    "gpt2": gpt2_loss,
    "spans": spans_loss,
    "tagging": tagging_loss,
    "classes": sentence_loss,
    "number": sentence_loss,
}


def torch_losses(name: str) -> dict[str, np.ndarray]:
    """As Run.losses: name -> [STEPS]."""
    out = [losses for _, losses in torch_steps(name)]
    return {key: np.array([entry[key] for entry in out], np.float32) for key in out[0]}


def torch_steps(name: str) -> Iterator[tuple[Any, dict[str, float]]]:
    """(model after it, losses) of each step."""
    import torch

    run = Run(name)
    to_names = NAMES[run.curve.peer]
    params = run.params()
    empty = BUILDERS[run.curve.peer](FAMILIES[run.curve.family].config)
    model = load(empty, to_names(params, VOCAB)).train()

    masks = jax.tree.map(lambda p, decayed: np.full(p.shape, decayed, np.float32), params, run.decay_mask)
    decayed = {key: mask.mean() for key, mask in to_names(masks, VOCAB).items()}
    assert set(decayed.values()) == {0.0, 1.0}
    groups = {0.0: [], 1.0: []}
    for key, parameter in model.named_parameters():  # tied ones once
        groups[decayed[key]].append(parameter)
    algorithm = OPTIM.algorithm
    optimizer = torch.optim.AdamW(
        [{"params": groups[on], "weight_decay": OPTIM.weight_decay * on} for on in groups],
        betas=(algorithm.b1, algorithm.b2),
        eps=algorithm.eps,
    )

    for step, batch in enumerate(batches(run.curve)):
        for group in optimizer.param_groups:
            group["lr"] = float(run.schedule(step))
        optimizer.zero_grad()
        loss, terms = LOSSES[name](model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIM.clip_norm)
        optimizer.step()
        yield model, {"loss": loss.item(), **terms, "grad_norm": norm.item()}
