# SPDX-License-Identifier: Apache-2.0
"""A directory of `transformers`, opened and checked, and read a few leaves at a time.

safetensors alone: a pickle can run code when it is read.  The files are mapped while a leaf is read and let
go of after it, so that what is resident is the leaf and not the file.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.files import sha256_of
from ssl_jax.hf.families import Family, Head, Use
from ssl_jax.hf.table import Line, Shapes, Tensor, tensors, to_ours
from ssl_jax.types import UserError

CONFIG, WEIGHTS, INDEX, SUMS = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "SHA256SUMS",
)  # fmt: skip
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FLOATS = {"F32", "F16", "BF16"}


def is_directory(path: Path) -> bool:
    """Whether a folder is one of `transformers`, rather than a workdir (both have a config.json); a damaged
    one is known by its weights."""
    try:
        return "model_type" in read_json(path / CONFIG)
    except (UserError, OSError):
        return any(path.glob("*.safetensors"))


def read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} has no {path.name}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path} is no JSON object")
    return loaded


def verify(path: Path) -> bool:
    """Whether there is a SHA256SUMS; raises UserError naming the first file that differs from it."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    for line in lines:
        expected, _, name = line.partition("  ")
        file = path / name
        if len(expected) != 64 or not name or file.resolve().parent != path.resolve():
            raise UserError(f"{path / SUMS}: {line[:80]!r} is no line of a hash and a file's name")
        if not file.is_file():
            raise UserError(f"{path} has no {name}, which its {SUMS} names; copy the directory again")
        if sha256_of(file) != expected:
            raise UserError(f"{file} is not what its {SUMS} says (sha256 differs); copy it again")
    return True


class Directory:
    """config.json as `values`, and where each tensor lies.  Reads no tensor yet.

    Raises UserError where config.json or the weights are missing or damaged, or the weights are a pickle.
    """

    def __init__(self, path: Path):
        self.path = path
        self.values = read_json(path / CONFIG)
        self.files: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in self._weight_files():
            with _opened(file) as tensors_in:
                for name in tensors_in.keys():  # noqa: SIM118
                    part = tensors_in.get_slice(name)
                    if name in self.files:
                        raise UserError(f"{file} and {self.files[name].name} both hold {name}")
                    if part.get_dtype() not in FLOATS:
                        raise UserError(
                            f"{file}: {name} is {part.get_dtype()}; float32, bfloat16 or float16 can be read"
                        )
                    self.files[name], self.shapes[name] = file, tuple(part.get_shape())

    def _weight_files(self) -> list[Path]:
        if (self.path / WEIGHTS).is_file():
            return [self.path / WEIGHTS]
        if (self.path / INDEX).is_file():
            names = sorted(set(read_json(self.path / INDEX).get("weight_map", {}).values()))
            files = [self.path / Path(name).name for name in names]
            if missing := [file.name for file in files if not file.is_file()]:
                raise UserError(f"{self.path} has no {', '.join(missing)}, which its {INDEX} names")
            return files
        if pickles := sorted(p.name for kind in PICKLES for p in self.path.glob(kind)):
            (architecture, *_) = [*(self.values.get("architectures") or []), "AutoModel"]
            raise UserError(
                f"{self.path / pickles[0]} is a pickle, which can run code when it is read; where you trust "
                f"it, convert it with transformers: {architecture}.from_pretrained({str(self.path)!r})"
                ".save_pretrained(NEW_DIR)"
            )
        raise UserError(f"{self.path} has no {WEIGHTS}")

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor, all of it finite."""
        file = self.files[name]
        with _opened(file) as tensors_in:
            value = tensors_in.get_tensor(name)
        if not np.isfinite(value).all():
            raise UserError(f"{file}: {name} holds numbers that are not finite; the file is damaged")
        return value


class _opened:
    """safe_open with its errors in one line."""

    def __init__(self, file: Path):
        self.file = file

    def __enter__(self) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            self._open = safe_open(self.file, framework="numpy")
            return self._open.__enter__()
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{self.file} is damaged or no safetensors file ({error}); copy it again"
            ) from None

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)


class Matched:
    """A directory whose every tensor has its place in our network, and every leaf of ours its tensors.

    Raises UserError that lists all names without a counterpart, and all shapes that differ.  notes: what was
    left out, for people.
    """

    def __init__(self, directory: Directory, family: Family, use: Use, shapes: Shapes, vocab_size: int):
        self.directory, self.shapes = directory, shapes
        lines = [line for line in family.lines(use) if all(name in shapes for name in line.ours)]
        self.by_line: list[tuple[Line, list[Tensor]]] = [
            (line, list(tensors(line, shapes, vocab_size))) for line in lines
        ]
        expected = {tensor.name: tensor.shape for _, of_line in self.by_line for tensor in of_line}
        self.names = canonical(directory, family, expected)
        self.notes: list[str] = []
        tied = {twin: name for twin, name in family.tied.items() if twin not in expected}
        left_over = sorted(set(self.names) - set(expected) - set(tied))
        left_over = self._without_spare(left_over, family, family.heads[use])
        problems = {
            "it lacks": sorted(set(expected) - set(self.names)),
            "nothing here takes": left_over,
            "no tensor is for our": sorted(set(shapes) - {name for line in lines for name in line.ours}),
            "other shapes than config.json says have": [
                f"{name} {self._shape(name)}, not {shape}"
                for name, shape in expected.items()
                if name in self.names and self._shape(name) != shape
            ],
        }
        if said := [f"{what} {', '.join(names)}" for what, names in problems.items() if names]:
            raise UserError(
                f"{directory.path} is not the {use.value} model of its config.json: {'; '.join(said)}"
            )
        for twin, name in tied.items():
            if twin in self.names and not np.array_equal(self._tensor(twin), self._tensor(name)):
                raise UserError(
                    f"{directory.path}: {twin} and {name} should be one tensor "
                    "(tie_word_embeddings), and differ"
                )

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.directory.shapes[self.names[name]]

    def _tensor(self, name: str) -> np.ndarray:
        return self.directory[self.names[name]]

    def _without_spare(self, names: list[str], family: Family, head: Head) -> list[str]:
        spare = [name for name in names if name.endswith(head.spare)]
        if spare:
            self.notes.append(f"left out, since a {head.architecture} has no use for it: {', '.join(spare)}")
        return [name for name in names if name not in spare and not name.endswith(family.ignored)]

    def leaves(self) -> Iterator[dict[str, np.ndarray]]:
        """Our leaves, those of one line of the table at a time."""
        for line, _ in self.by_line:
            yield self.read(line.ours)

    def read(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Leaves of ours, float32, in a dict that may hold others of their lines."""
        found: dict[str, np.ndarray] = {}
        for line, of_line in self.by_line:
            if set(line.ours) & set(names):
                leaves = {name: np.empty(self.shapes[name], np.float32) for name in line.ours}
                for tensor in of_line:
                    to_ours(tensor, self._tensor(tensor.name), leaves)
                found |= leaves
        return found


def canonical(directory: Directory, family: Family, expected: Any) -> dict[str, str]:
    """Name as the tables have it -> name in the file: older spellings, and the trunk's prefix where a file
    leaves it out."""
    names = {}
    for name in directory.files:
        new = name
        for old, current in family.aliases.items():
            new = new.removesuffix(old) + current if new.endswith(old) else new
        if new not in expected and family.prefix + new in expected:
            new = family.prefix + new
        names[new] = name
    return names


def holds(directory: Directory, family: Family, use: Use) -> bool:
    """Whether the use's own tensors, beside the trunk's, are all in the file."""
    names = {line.theirs for line in family.heads[use].lines}
    return names <= set(canonical(directory, family, names))
