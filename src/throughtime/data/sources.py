"""Data in memory, accepted wherever data are read from a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


class InMemory:
    """Base class of data in memory: has a name for messages, is neither file nor folder."""

    name: str
    suffix = ""

    def __str__(self) -> str:
        return self.name

    def is_dir(self) -> bool:
        """Always False."""
        return False

    def is_file(self) -> bool:
        """Always False."""
        return False


@dataclass(frozen=True, eq=False)
class MemoryTable(InMemory):
    """A data frame."""

    frame: pl.DataFrame
    name: str = "the table"

    __str__ = InMemory.__str__


@dataclass(frozen=True, eq=False)
class MemoryFile(InMemory):
    """The bytes of a CSV, Parquet or Arrow file."""

    raw: bytes
    name: str = "the bytes"

    __str__ = InMemory.__str__


@dataclass(frozen=True, eq=False)
class MemorySequences(InMemory):
    """Arrays as in a `.npz` file: x, and optionally lengths, y and part."""

    arrays: Mapping[str, np.ndarray]
    name: str = "the arrays"

    __str__ = InMemory.__str__


@dataclass(frozen=True, eq=False)
class MemoryTexts(InMemory):
    """Text documents."""

    texts: tuple[str, ...]
    name: str = "the texts"

    __str__ = InMemory.__str__


DataSource = Path | MemoryTable | MemoryFile | MemorySequences | MemoryTexts
