"""Data that are in memory already: they take the place of a path wherever data are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


class InMemory:
    """Stands where a path would: it has a name for messages, and is neither file nor folder."""

    name: str
    suffix = ""

    def __str__(self) -> str:
        return self.name

    def is_dir(self) -> bool:
        """Never."""
        return False

    def is_file(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True, eq=False)
class MemoryTable(InMemory):
    """A table as a data frame."""

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
    """Arrays as a `.npz` file holds them: x, and lengths, y and part where there are such."""

    arrays: Mapping[str, np.ndarray]
    name: str = "the arrays"

    __str__ = InMemory.__str__


@dataclass(frozen=True, eq=False)
class MemoryTexts(InMemory):
    """Documents."""

    texts: tuple[str, ...]
    name: str = "the texts"

    __str__ = InMemory.__str__


DataSource = Path | MemoryTable | MemoryFile | MemorySequences | MemoryTexts
