# SPDX-License-Identifier: Apache-2.0
"""GLUE: nine tasks and the diagnostic set AX (Wang et al. 2019), from plain files or TFDS.

Columns, order of the labels, metrics and what the leaderboard wants are facts: one table holds them.
"""

import enum
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_jax.data import Record
from ssl_jax.tasks.base import DEV, HELDOUT, TRAIN, Predicted
from ssl_jax.tasks.metrics import Measure
from ssl_jax.tasks.sentences import (
    Label,
    Names,
    SentenceTask,
    answers,
    parse_class,
    parse_number,
    records_of,
    write_tsv,
)
from ssl_jax.tasks.sheet import Sheet, of_width, read_sheet, split_files, tab_rows, tfds_sheet
from ssl_jax.types import UserError

AX = "ax"  # a split of MNLI's: its labels are MNLI's, and no task trains on it
SUBMISSION = "submission.zip"


class GlueTask(enum.Enum):
    """The value is the name for people, and that of the folder in which the task is distributed."""

    COLA = "CoLA"
    SST2 = "SST-2"
    MRPC = "MRPC"
    QQP = "QQP"
    STSB = "STS-B"
    MNLI = "MNLI"
    QNLI = "QNLI"
    RTE = "RTE"
    WNLI = "WNLI"

    @property
    def builder(self) -> str:
        return f"glue/{self.name.lower()}"

    @property
    def helped_by_mnli(self) -> bool:
        """Whether the field also reports it started from a model that was fine-tuned on MNLI."""
        return self in (GlueTask.RTE, GlueTask.MRPC, GlueTask.STSB)


@dataclass(frozen=True)
class Facts:
    """texts, label: columns, by the names they have in the files and in TFDS.  classes: in the order of TFDS
    and of the files' numbers; () where the label is a number.  by_number: the leaderboard wants numbers."""

    texts: tuple[Names, ...]
    label: Names
    classes: tuple[str, ...]
    measured: tuple[Measure, ...] = (Measure.ACCURACY,)
    by_number: bool = False


_PAIR = (("sentence1",), ("sentence2",))
_NLI = (("sentence1", "premise", "Premise"), ("sentence2", "hypothesis", "Hypothesis"))
_ENTAILMENT = ("entailment", "not_entailment")
_F1 = (Measure.ACCURACY, Measure.F1)  # F1 alone would praise whoever says yes to everything
FACTS: Mapping[GlueTask, Facts] = {
    GlueTask.COLA: Facts(
        (("sentence",),), ("label",), ("unacceptable", "acceptable"), (Measure.MATTHEWS,), by_number=True
    ),
    GlueTask.SST2: Facts((("sentence",),), ("label",), ("negative", "positive"), by_number=True),
    GlueTask.MRPC: Facts(
        (("#1 String", "sentence1"), ("#2 String", "sentence2")),
        ("Quality", "label"),
        ("not_equivalent", "equivalent"),
        _F1,
        by_number=True,
    ),
    GlueTask.QQP: Facts(
        (("question1",), ("question2",)),
        ("is_duplicate", "label"),
        ("not_duplicate", "duplicate"),
        _F1,
        by_number=True,
    ),
    GlueTask.STSB: Facts(_PAIR, ("score", "label"), (), (Measure.PEARSON, Measure.SPEARMAN)),
    GlueTask.MNLI: Facts(_NLI, ("gold_label", "label", "Label"), ("entailment", "neutral", "contradiction")),
    GlueTask.QNLI: Facts((("question",), ("sentence",)), ("label",), _ENTAILMENT),
    GlueTask.RTE: Facts(_PAIR, ("label",), _ENTAILMENT),
    # The other way round, and by number, in the files: what most often went wrong elsewhere.
    GlueTask.WNLI: Facts(_PAIR, ("label",), ("not_entailment", "entailment"), by_number=True),
}
# The leaderboard's file of a split, where it isn't the folder's name.
SITE_FILES = {"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv", AX: "AX.tsv"}


@dataclass(frozen=True, kw_only=True)
class Glue(SentenceTask):
    """A task of GLUE.

    data: the task's folder or the one that holds all of them, as distributed or with TFDS's column names;
    None reads TFDS's `glue/...`.  Splits: train, dev and test; of MNLI train, dev_matched, dev_mismatched,
    test_matched, test_mismatched and ax.
    """

    task: GlueTask

    @property
    def facts(self) -> Facts:
        return FACTS[self.task]

    @property
    def measured(self) -> tuple[Measure, ...]:
        return self.facts.measured

    def measured_in(self, name: str) -> tuple[Measure, ...]:
        return (Measure.MATTHEWS,) if name == AX else self.measured

    def positive(self, labels: Sequence[str]) -> str | None:
        return labels[1] if len(labels) == 2 else None

    @property
    def evaluations(self) -> Mapping[str, str]:
        if self.task is GlueTask.MNLI:
            return {HELDOUT: "dev_matched", "mismatched": "dev_mismatched"}
        return {HELDOUT: DEV}

    def splits(self, split: str) -> Mapping[str, str]:
        if self.task is GlueTask.MNLI and split == "test":
            return {"matched": "test_matched", "mismatched": "test_mismatched"}
        return super().splits(split)

    def labels(self, train: Sequence[Record]) -> tuple[str, ...]:
        return self.facts.classes

    # ------------------------------------------------------------------------------------- reading

    def read(self, split: str) -> list[Record]:
        parts = ("_matched", "_mismatched") if self.task is GlueTask.MNLI else ("",)
        known = [TRAIN, *(f"{kind}{part}" for kind in (DEV, "test") for part in parts)]
        known += [AX] if self.task is GlueTask.MNLI else []
        if split not in known:
            raise UserError(f"{self.task.value} has no split {split!r}; it has: {', '.join(known)}")
        return records_of(
            self.from_builder(split)
            if self.data is None
            else self.from_files(Path(self.data).expanduser(), split),
            self.facts.texts,
            self.facts.label,
            self.parse,
            number=("index", "idx", "id"),
            labelled=split == TRAIN or split.startswith(DEV),
            lenient=self.task is GlueTask.QQP,  # its files have torn rows and empty questions
        )

    def parse(self, cell: str) -> Label | None:
        if self.facts.classes:
            return parse_class(cell, self.facts.classes)
        if self.data is None and cell == "-1.0":  # TFDS's way to say that the test split has none
            return None
        return parse_number(cell, 0, 5)

    def from_builder(self, split: str) -> Sheet:
        if split == AX:
            return tfds_sheet("glue/ax", "test")
        return tfds_sheet(self.task.builder, split.replace(DEV, "validation"))

    def from_files(self, folder: Path, split: str) -> Sheet:
        if split == AX:
            return read_sheet(diagnostic_file(folder))
        home = task_folder(folder, (self.task.value, self.task.name))
        files = split_files(home, (".tsv", ".txt"))
        if self.task is GlueTask.MRPC and "msr_paraphrase_train" in files:
            return microsoft_sheet(home, files, split)
        if split not in files:
            there = ", ".join(sorted(path.name for path in home.iterdir())) or "nothing"
            raise UserError(f"{home} has no {split}.tsv of {self.task.value}; it has: {there}")
        if self.task is GlueTask.COLA:
            return cola_sheet(files[split])
        return read_sheet(files[split], short=self.task is GlueTask.QQP)

    # ------------------------------------------------------------------------------------- writing

    def write(self, split: str, predicted: Predicted, labels: tuple[str, ...], folder: Path) -> list[Path]:
        """`index` and `prediction` as the leaderboard wants them; after a test split's file, all of the
        leaderboard's that lie in the folder are zipped."""
        said = answers(predicted, labels)
        if not labels:
            spelled = [f"{value:.3f}" for value in said.clip(0, 5)]
        elif self.facts.by_number:
            spelled = [labels.index(name) for name in said]
        else:
            spelled = list(said)
        rows = sorted(
            (int(row.fields["row"]), value) for row, value in zip(predicted.rows, spelled, strict=True)
        )
        site = SITE_FILES.get(split, f"{self.task.value}.tsv" if split == "test" else None)
        path = write_tsv(folder / (site or f"{self.task.value}.{split}.tsv"), ("index", "prediction"), rows)
        return [path, zip_submission(folder)] if site else [path]


def zip_submission(folder: Path) -> Path:
    """submission.zip of those of the leaderboard's files that lie in the folder; equal files, equal bytes."""
    names = sorted({f"{task.value}.tsv" for task in GlueTask} - {"MNLI.tsv"} | set(SITE_FILES.values()))
    with zipfile.ZipFile(folder / SUBMISSION, "w") as archive:
        for name in names:
            if (folder / name).is_file():
                info = zipfile.ZipInfo(name)  # of 1980
                info.external_attr = 0o644 << 16
                archive.writestr(info, (folder / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return folder / SUBMISSION


# -------------------------------------------------------------------------------- where files lie


def task_folder(folder: Path, names: Sequence[str]) -> Path:
    """The folder of these names inside this one, whatever their case; otherwise this one."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    wanted = {name.lower() for name in names}
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.lower() in wanted]
    return inside[0] if inside else folder


def diagnostic_file(folder: Path) -> Path:
    """AX: in a folder of its own beside MNLI's, or with MNLI's files; with labels where there are any."""
    names = ("AX", "diagnostic")
    for place in (task_folder(folder, names), task_folder(folder.resolve().parent, names)):
        files = split_files(place, (".tsv",))
        for stem in ("diagnostic-full", "diagnostic", "AX", "ax"):
            if stem in files:
                return files[stem]
    raise UserError(f"{folder} has no diagnostic.tsv, neither in it nor in a folder diagnostic or AX beside")


def cola_sheet(path: Path) -> Sheet:
    """CoLA's train and dev have no header: source, label, the author's mark, sentence."""
    rows = tab_rows(path)
    line, first = next(rows)
    if len(first) != 4 or "sentence" in first:
        return read_sheet(path)
    names = ("source", "label", "mark", "sentence")
    return Sheet(str(path), names, of_width(path, [(line, first), *rows], len(names), short=False))


def microsoft_sheet(home: Path, files: Mapping[str, Path], split: str) -> Sheet:
    """MRPC as its authors distribute it: what GLUE calls dev is listed in dev_ids.tsv."""
    if split == "test":
        if "msr_paraphrase_test" not in files:
            raise UserError(f"{home} has no msr_paraphrase_test.txt")
        return read_sheet(files["msr_paraphrase_test"])
    ids = files.get("dev_ids") or files.get("mrpc_dev_ids")
    if ids is None:
        raise UserError(
            f"{home} has no dev_ids.tsv, the list of those pairs of the training file that are GLUE's dev"
        )
    held = {tuple(cells) for _, cells in tab_rows(ids)}
    sheet = read_sheet(files["msr_paraphrase_train"])
    first, second = sheet.index("#1 ID"), sheet.index("#2 ID")
    chosen = [
        (line, cells)
        for line, cells in sheet.rows
        if ((cells[first], cells[second]) in held) == (split == DEV)
    ]
    return Sheet(sheet.name, sheet.names, chosen)
