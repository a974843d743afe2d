# SPDX-License-Identifier: Apache-2.0
"""Records of Parquet files (extra [parquet]); a file is cut at its row groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ssl_jax.data.files import content_hash
from ssl_jax.data.readers import Bad, File, Record, check_text
from ssl_jax.types import UserError


@dataclass(frozen=True)
class ParquetInput(File):
    text_key: str = "text"

    def identity(self) -> list[Any]:
        return ["parquet", self.name, content_hash(self.path), self.text_key]

    def _records(self) -> Iterator[Record]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise UserError(f"{self.path}: reading Parquet needs: pip install 'ssl_jax[parquet]'") from error
        try:
            file = pq.ParquetFile(self.path)
            if self.text_key not in file.schema_arrow.names:
                names = ", ".join(file.schema_arrow.names)
                raise UserError(
                    f"{self.path}: no column {self.text_key!r} (set data.text_key); it has: {names}"
                )
            k, n = self.piece
            groups = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            first, last = len(groups) * k // n, len(groups) * (k + 1) // n
            row = sum(groups[:first])
            rows = file.iter_batches(256, range(first, last), [self.text_key]) if last > first else ()
            for batch in rows:
                for value in batch.column(0).to_pylist():
                    text, reason = check_text(value, self.text_key)
                    yield text if reason is None else Bad(str(self.path), row, reason, unit="row")
                    row += 1
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{self.path}: not a readable Parquet file: {str(error).splitlines()[0]}"
            ) from error
