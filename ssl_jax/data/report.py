# SPDX-License-Identifier: Apache-2.0
"""What preparing counted, gathered batch by batch and told to people."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssl_jax.data.readers import Bad
from ssl_jax.types import UserError

_NAMED = 20  # bad records that the report names
_SUMS = (
    *(
        "records",
        "bad",
        "empty",
        "duplicates",
        "documents",
        "characters",
        "tokens",
        "unknown",
        "byte_fallback",
    ),
    *("sentences", "one_sentence", "sampled_characters", "sampled_lost"),
)


class Counts:
    """Sums over the documents that were read.  `values` is JSON, kept in the journal."""

    def __init__(self, values: dict[str, Any] | None = None):
        self.values = values or {**dict.fromkeys(_SUMS, 0), "seconds": 0.0, "bad_examples": []}

    def add_bad(self, bad: Sequence[Bad], max_share: float) -> None:
        """Raises UserError early where a corpus is hopeless."""
        values = self.values
        values["bad"] += len(bad)
        values["bad_examples"] += [str(b) for b in bad[: _NAMED - len(values["bad_examples"])]]
        if values["bad"] > 1000 and self.bad_share > 10 * max_share:
            self.check_bad(max_share)

    @property
    def bad_share(self) -> float:
        return self.values["bad"] / max(1, self.values["bad"] + self.values["records"])

    def check_bad(self, max_share: float) -> None:
        v = self.values
        if v["bad"] and self.bad_share > max_share:
            first = "; ".join(v["bad_examples"][:3])
            more = f" and {v['bad'] - 3:,} more" if v["bad"] > 3 else ""
            raise UserError(
                f"{v['bad']:,} bad records, {self.bad_share:.2%} of all, past data.max_bad={max_share:.2%}: "
                f"{first}{more}; mend them or raise data.max_bad"
            )

    def add_documents(self, docs: Sequence[Any]) -> None:
        """docs: `text.EncodedDoc`s that go into the store."""
        v = self.values
        sentences = np.array([len(d.sentence_starts) for d in docs], np.int64)
        v["documents"] += len(docs)
        v["tokens"] += sum(len(d.tokens) for d in docs)
        for name in ("characters", "unknown", "byte_fallback", "sampled_characters", "sampled_lost"):
            v[name] += sum(getattr(d, name) for d in docs)
        v["sentences"] += int(sentences.sum())
        v["one_sentence"] += int((sentences == 1).sum())


def report_of(counts: dict[str, Any], manifest: dict[str, Any]) -> dict[str, Any]:
    """The report as plain values: counts, and the shares that people ask for."""
    documents, tokens = max(1, counts["documents"]), max(1, counts["tokens"])
    return {
        **counts,
        "train_documents": manifest["train"]["num_documents"],
        "train_tokens": manifest["train"]["num_tokens"],
        "heldout_documents": manifest["heldout"]["num_documents"],
        "heldout_tokens": manifest["heldout"]["num_tokens"],
        "heldout_share": manifest["heldout"]["num_documents"] / documents,
        "tokens_per_second": counts["tokens"] / max(1e-9, counts["seconds"]),
        "characters_per_token": counts["characters"] / tokens,
        "unknown_share": counts["unknown"] / tokens,
        "byte_fallback_share": counts["byte_fallback"] / tokens,
        "lost_share": counts["sampled_lost"] / max(1, counts["sampled_characters"]),
        "sentences_per_document": counts["sentences"] / documents,
        "one_sentence_share": counts["one_sentence"] / documents,
        "vocab_size": manifest["vocab_size"],
        "sources": manifest["sources"],
        "deduplicated": manifest["settings"]["dedup"],
    }


def text_of(report: dict[str, Any], place: str) -> str:
    """The report as lines for people."""
    r = report
    if not r:
        return f"corpus {place}: no report.json"
    rows = [
        ("documents", f"{r['documents']:,} ({r['empty']:,} without a word left out)"),
        (
            "held out",
            f"{r['heldout_documents']:,} ({r['heldout_share']:.2%}), {r['heldout_tokens']:,} tokens",
        ),
        (
            "tokens",
            f"{r['tokens']:,}, {r['characters_per_token']:.2f} characters each",
        ),
        ("vocabulary", f"{r['vocab_size']:,}"),
        ("speed", f"{r['tokens_per_second']:,.0f} tokens/s ({r['seconds']:.1f} s)"),
        ("unknown", f"{r['unknown_share']:.4%} of tokens; by bytes: {r['byte_fallback_share']:.4%}"),
        (
            "round trip",
            f"{r['sampled_lost']:,} of {r['sampled_characters']:,} sampled characters lost",
        ),
        (
            "sentences",
            f"{r['sentences_per_document']:.1f} a document; {r['one_sentence_share']:.1%} of them hold one",
        ),
        ("exact duplicates", f"{r['duplicates']:,} ({'dropped' if r['deduplicated'] else 'kept'})"),
        ("bad records", f"{r['bad']:,} skipped"),
    ]
    for source in r["sources"] if len(r["sources"]) > 1 else ():
        counts = f"{source['documents']:,} documents, {source['tokens']:,} tokens"
        rows.append((f"source {source['name']}", f"weight {source['weight']:.4f}, {counts}"))
    lines = [f"corpus {place}", *(f"  {name:<17} {value}" for name, value in rows)]
    return "\n".join(lines + [f"    {bad}" for bad in r["bad_examples"]])
