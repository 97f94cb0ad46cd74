"""Columns of a library's tables, and pyarrow, which reads and writes them."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from claprt.errors import MissingDependencyError
from claprt.system.extras import install_hint

Schema: TypeAlias = Any
"""A `pyarrow.Schema`; pyarrow has no annotations."""
Table: TypeAlias = Any
"""A `pyarrow.Table`."""
RecordBatch: TypeAlias = Any
"""A `pyarrow.RecordBatch`."""

DTYPES = ("float32", "float16")
"""Of the stored vectors."""
WHOLE_SOUND = -1
"""`window` of a row whose vector is that of the whole sound."""


def arrow(*parts: str, purpose: str = "A library is read and written") -> Any:
    """The module `pyarrow`. A search, which reads no Parquet, starts a tenth of a second earlier without the rest.

    Args:
        parts: Modules of it that are imported as well, `compute` or `parquet`.
        purpose: What it is needed for, the begin of the message where it is missing.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        for part in parts:
            importlib.import_module(f"pyarrow.{part}")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise MissingDependencyError(f"{purpose} with pyarrow: {install_hint('library')}") from error


def row_schema(dim: int, dtype: str) -> Schema:
    """Columns of the rows.

    Args:
        dim: Length of a vector.
        dtype: Of the stored vectors, `float32` or `float16`.
    """
    pa = arrow()
    vector = pa.list_(pa.field("element", pa.type_for_alias(dtype), nullable=False), dim)
    return pa.schema([
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64()),
        pa.field("sample_rate", pa.int32(), nullable=False),
        pa.field("channels", pa.int32(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("embedding", vector, nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("missing", pa.bool_(), nullable=False),
    ])  # fmt: skip


def failure_schema() -> Schema:
    """Columns of the failures."""
    pa = arrow()
    return pa.schema([
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime", pa.float64(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
    ])  # fmt: skip
