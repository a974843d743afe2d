# SPDX-License-Identifier: Apache-2.0
"""Small files in every layout in which GLUE is distributed, and a TFDS folder prepared from them."""

from collections.abc import Sequence
from pathlib import Path

Rows = Sequence[Sequence[object]]


def write(path: Path, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


# Quotes that pair with none, a line separator, and spaces at the end: all inside sentences of the real files.
ODD = 'he said "no\u2028 and left '


def cola(folder: Path) -> None:
    for split in ("train", "dev"):
        write(folder / f"{split}.tsv", ["gj04", 1, "", f"{split} is fine."], ["c_13", 0, "*", ODD])
    write(folder / "test.tsv", ["index", "sentence"], [0, "Bill left."], [1, ODD])


def sst2(folder: Path) -> None:
    for split in ("train", "dev"):
        write(folder / f"{split}.tsv", ["sentence", "label"], [f"{split} charms ", 1], [ODD, 0])
    write(folder / "test.tsv", ["index", "sentence"], [0, "uneasy mishmash"], [1, ODD])


def mrpc(folder: Path) -> None:
    names = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    for split in ("train", "dev"):
        path = write(folder / f"{split}.tsv", names, [1, 702, 703, f"{split} a", "b"], [0, 7, 8, "c", ODD])
        path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    write(folder / "test.tsv", ["index", *names[1:]], [0, 1, 2, "x", "y"], [1, 3, 4, "z", ODD])


def microsoft(folder: Path) -> None:
    """MRPC as its authors distribute it."""
    names = ["\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
    rows = [[i % 2, i, i + 1, f"a{i}", f"b{i}"] for i in range(6)]
    write(folder / "msr_paraphrase_train.txt", names, *rows)
    write(folder / "msr_paraphrase_test.txt", names, [1, 90, 91, "t", "u"], [0, 92, 93, "v", "w"])
    write(folder / "dev_ids.tsv", [1, 2], [4, 5])


def qqp(folder: Path) -> None:
    names = ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    rows = [[133273, 1, 2, "how?", "why?", 0], [402555, 3, 4, "what?", ODD, 1]]
    write(
        folder / "train.tsv",
        names,
        *rows,
        [57, 5, 6, "torn"],
        [58, 5, 6, "torn", "too"],
        [59, 5, 6, "", "q", 0],
    )
    write(folder / "dev.tsv", names, *rows)
    write(folder / "test.tsv", [names[0], *names[3:5]], [0, "who?", "when?"], [1, "", ODD])


def stsb(folder: Path) -> None:
    names = [
        "index",
        "genre",
        "filename",
        "year",
        "old_index",
        "source1",
        "source2",
        "sentence1",
        "sentence2",
    ]
    row = ["main-captions", "MSRvid", "2012test", "0001", "none", "none"]
    for split in ("train", "dev"):
        rows = [0, *row, f"{split} a", "b", "5.000"], [1, *row, "c", ODD, "3.80"]
        write(folder / f"{split}.tsv", [*names, "score"], *rows)
    write(folder / "test.tsv", names, [0, *row, "x", "y"], [1, *row, "z", ODD])


def mnli(folder: Path) -> None:
    shared = ["index", "promptID", "pairID", "genre", "sentence1_parse", "sentence1", "sentence2"]
    row = ["31193", "31193n", "government", "( ( a ) )"]
    rows = [["neutral", "neutral"], ["contradiction", "contradiction"], ["entailment", "entailment"]]
    for split in ("train", "dev_matched", "dev_mismatched"):
        body = [[i, *row, f"{split} {i}", ODD, *labels] for i, labels in enumerate(rows)]
        write(folder / f"{split}.tsv", [*shared, "label1", "gold_label"], *body)
    for split in ("test_matched", "test_mismatched"):
        write(folder / f"{split}.tsv", shared, *([i, *row, f"{split} {i}", ODD] for i in range(3)))


def qnli(folder: Path) -> None:
    named(folder, ("question", "sentence"), ("entailment", "not_entailment"))


def rte(folder: Path) -> None:
    named(folder, ("sentence1", "sentence2"), ("not_entailment", "entailment"))


def wnli(folder: Path) -> None:
    named(folder, ("sentence1", "sentence2"), (1, 0))


def named(folder: Path, texts: Sequence[str], labels: Sequence[object]) -> None:
    names = ["index", *texts]
    for split in ("train", "dev"):
        rows = [0, f"{split} a", "b", labels[0]], [1, "c", ODD, labels[1]]
        write(folder / f"{split}.tsv", [*names, "label"], *rows)
    write(folder / "test.tsv", names, [0, "x", "y"], [1, "z", ODD])


def diagnostic(folder: Path) -> None:
    write(folder / "diagnostic.tsv", ["index", "sentence1", "sentence2"], [0, "a", "b"], [1, "c", ODD])


OFFICIAL = {
    "CoLA": cola,
    "SST-2": sst2,
    "MRPC": mrpc,
    "QQP": qqp,
    "STS-B": stsb,
    "MNLI": mnli,
    "QNLI": qnli,
    "RTE": rte,
    "WNLI": wnli,
    "diagnostic": diagnostic,
}


def official(folder: Path) -> Path:
    """All of GLUE, as its download script leaves it."""
    for name, make in OFFICIAL.items():
        make(folder / name)
    return folder


def prepared(folder: Path, config: str) -> None:
    """TFDS's own builder run on such files, as if it had downloaded and unpacked them."""
    import tensorflow_datasets as tfds
    import tensorflow_datasets.text
    from tensorflow_datasets.core.download import checksums, resource

    builder = tfds.builder(f"glue/{config}", data_dir=str(folder), file_format="array_record")
    url = builder.builder_config.data_url
    known = {**checksums.get_all_url_infos(), **builder.url_infos}[url]
    downloads = folder / "downloads"
    name = resource.get_dl_fname(url, known.checksum)
    path = downloads / builder.name / resource.Resource(url=url).relative_download_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a zip")
    resource.write_info_file(
        url=url, path=path, dataset_name=builder.name, original_fname=known.filename, url_info=known
    )
    inside = builder.builder_config.data_dir
    if inside:
        OFFICIAL[inside](downloads / "extracted" / f"ZIP.{path.name}" / inside)
    else:
        diagnostic(path.parent)
        (path.parent / "diagnostic.tsv").replace(path)
    builder.download_and_prepare(
        download_dir=str(downloads),
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
    )
