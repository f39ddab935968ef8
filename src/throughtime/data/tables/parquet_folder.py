"""Folders of Parquet files as one long series, read in blocks, for data larger than memory.

The files are concatenated in the order of their names. A sample of row ranges is kept in memory as
an ordinary table, for evaluation and inspection; training data are read again in every epoch.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from throughtime.data.folders import PARQUETS, files_in
from throughtime.data.split import Split
from throughtime.data.tables.forecast_problem import Problem
from throughtime.data.tables.grid import Series
from throughtime.data.tables.numbers import LARGEST
from throughtime.data.tables.reading import Source, polars_name, survive
from throughtime.data.tables.tables import Table
from throughtime.data.tables.timeline import ROWS
from throughtime.data.tables.windows import Parts, WindowPlan, Windows, plan_windows
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, nearest
from throughtime.escapes import printable
from throughtime.library_errors import library_errors
from throughtime.runs import Choice, DataRecord

_BLOCK_BYTES = 16 << 20  # size of a block in memory; up to three exist at once
_SAMPLED = 8  # row ranges of each part that are kept in memory
_STRETCH = 4000  # windows in each range
_FOOTER = 1 << 16  # bytes at the end of a file, which contain the Parquet metadata


@dataclass(frozen=True)
class Shards:
    """The concatenated rows of several files."""

    folder: Path
    files: tuple[Path, ...]
    ends: np.ndarray  # [F] cumulative number of rows
    columns: tuple[str, ...]  # C columns, the targets first
    fingerprint: str

    @property
    def rows(self) -> int:
        """The total number of rows."""
        return int(self.ends[-1])

    @property
    def block(self) -> int:
        """The number of rows in a block."""
        return max(1024, _BLOCK_BYTES // (8 * len(self.columns)))

    def read(self, begin: int, end: int) -> np.ndarray:
        """Read a range of rows, [end - begin, C] float64.

        Raises InputError that names file and row for a value that is missing or not finite.
        """
        found: list[np.ndarray] = []
        number = int(np.searchsorted(self.ends, begin, side="right"))
        while begin < end:
            first = int(self.ends[number - 1]) if number else 0
            last = min(end, int(self.ends[number]))
            found.append(self._read(number, begin - first, last - begin))
            begin, number = last, number + 1
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _read(self, number: int, skip: int, count: int) -> np.ndarray:
        file = self.files[number]
        errors = library_errors(str(file), "cannot be read", "write it again")
        with errors, polars_name(file) as name:
            lazy = pl.scan_parquet(name, glob=False).select(
                pl.col(column).cast(pl.Float64) for column in self.columns
            )
            frame = lazy.slice(skip, count).collect()
        if len(frame) != count:
            raise InputError(str(file), "changed while it was read", "wait until it is complete")
        values = frame.to_numpy()
        bad = ~(np.abs(values) <= LARGEST)
        if bad.any():
            row, column = (int(k) for k in np.argwhere(bad)[0])
            raise InputError(
                f"{file}, row {skip + row + 1}, column {self.columns[column]!r}",
                "a missing value"
                if np.isnan(values[row, column])
                else f"{values[row, column]:g} is beyond {LARGEST:g}",
                "correct it in the file: folders of Parquet files are read without filling",
            )
        return values


def open_shards(
    folder: Path, options: DataOptions, *, tested: bool = True
) -> tuple[Shards, DataOptions, tuple[Choice, ...]]:
    """Open the files of a folder; return them, the options with all columns, and the choices made.

    ``tested``: first read all files in a child process, because a damaged file may crash it.

    Raises InputError for files with different columns, and for unknown columns.
    """
    files = files_in(folder, PARQUETS)
    if tested:
        survive(str(folder), "Parquet", "scan_parquet", files=files)
    digest = hashlib.sha256()
    ends: list[int] = []
    schema: dict[str, Any] = {}
    for file in files:
        advice = "write it again, or remove it"
        with library_errors(str(file), "not a readable Parquet file", advice):
            with polars_name(file) as name:
                here = dict(pl.read_parquet_schema(name))
                count = int(pl.scan_parquet(name, glob=False).select(pl.len()).collect().item())
            with file.open("rb") as opened:
                size = opened.seek(0, 2)
                opened.seek(max(0, size - _FOOTER))
                digest.update(os.fsencode(file.relative_to(folder)))
                digest.update(f" {size}\n".encode() + opened.read())
        schema = schema or here
        if here != schema:
            name = sorted(set(here.items()) ^ set(schema.items()), key=str)[0][0]
            raise InputError(
                str(file),
                f"column {name!r} differs from {files[0].name}",
                "give files with the same columns and types",
            )
        ends.append(count + (ends[-1] if ends else 0))
    numeric = [name for name, kind in schema.items() if kind.is_numeric()]
    targets = options.target or (tuple(numeric) if len(numeric) == 1 else None)
    if targets is None:
        found = f"{len(numeric)} numeric columns ({', '.join(numeric[:8])})"
        raise InputError(str(folder), found, "choose what to forecast with --target")
    inputs = options.inputs
    if inputs is None:
        inputs = tuple(name for name in numeric if name not in targets)
    known = set(numeric)
    for name in (*targets, *inputs):
        if name not in known:
            raise InputError(str(folder), f"no numeric column {name!r}", nearest(name, numeric))
    used = tuple(dict.fromkeys((*targets, *inputs)))
    shards = Shards(folder, tuple(files), np.array(ends), used, digest.hexdigest())
    choices = (
        Choice("files", str(len(files)), "in the order of their names"),
        Choice("target", ", ".join(targets), "as asked, or the one numeric column", "--target"),
        Choice("inputs", ", ".join(used[len(targets) :]) or "none", "further columns", "--inputs"),
    )
    count = len(targets)
    # a folder is one series without times
    options = replace(options, target=used[:count], inputs=used[count:], time="none", group=None)
    return shards, options, choices


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of columns, [C] each."""

    mean: Tensor
    spread: Tensor


def _moments(shards: Shards, end: int, watch: Callable[[int, int], None] | None) -> Moments:
    """Moments of the rows before `end` (Chan 1979); the single pass also checks all rows."""
    count, mean, squares = 0, np.zeros(len(shards.columns)), np.zeros(len(shards.columns))
    for begin in range(0, shards.rows, shards.block):
        values = shards.read(begin, min(begin + shards.block, shards.rows))
        own = values[: max(0, end - begin)]
        if len(own):
            center = own.mean(axis=0)
            apart, total = center - mean, count + len(own)
            squares += ((own - center) ** 2).sum(axis=0) + apart**2 * count * len(own) / total
            mean, count = mean + apart * len(own) / total, total
        if watch is not None:
            watch(begin + len(values), shards.rows)
    return Moments(torch.from_numpy(mean), torch.from_numpy(np.sqrt(squares / count)))


def shard_problem(
    folder: Path, options: DataOptions, *, watch: Callable[[int, int], None] | None = None
) -> Problem:
    """Open a folder of Parquet files of any size as a forecasting problem.

    >>> problem = shard_problem(Path("sensors"), DataOptions(target=("load",)))

    Raises InputError for too few rows, and for invalid values, see `Shards.read`.
    """
    shards, options, choices = open_shards(folder, options)
    targets, split = len(options.target or ()), Split.read(options.split)
    source = Source(printable(folder), shards.fingerprint, 1, choices)
    edges = [0, round(shards.rows * split.training), round(shards.rows * (1 - split.test))]
    edges.append(shards.rows)
    whole = _table(source, shards, options, [(0, shards.rows)], lazy=True)
    plan, planned = plan_windows(whole, options.horizon, options.context, 1, split)
    length = plan.context + plan.horizon
    if min(np.diff(edges)) < length:
        raise InputError(
            str(folder),
            f"{shards.rows} rows are too few for context {plan.context} + horizon {plan.horizon}",
            "give more rows, or lower --context or --horizon",
        )
    moments = _moments(shards, edges[1], watch)
    constant = [n for n, s in zip(shards.columns[:targets], moments.spread, strict=False) if not s]
    if constant:
        raise InputError(
            f"{folder}, column {constant[0]!r}", "the target is constant", "choose another --target"
        )
    # a context may extend into the part before, as in real use
    spans = [
        [(max(low, begin - back), end) for begin, end in _stretches(low + back, high, length)]
        for low, high, back in (
            (0, edges[1], 0),
            (edges[1] - plan.context, edges[2], plan.context),
            (edges[2] - plan.context, edges[3], plan.context),
        )
    ]
    table = _table(source, shards, options, [s for part in spans for s in part])
    values = torch.from_numpy(table.values)
    parts: list[Windows] = []
    series = iter(table.series)
    for part in spans:
        mine = [next(series) for _ in part]
        starts = [np.arange(s.start, s.stop - length + 1) for s in mine]
        parts.append(Windows(values, torch.from_numpy(np.concatenate(starts)), plan, targets))
    borders = (str(edges[1] + 1), str(edges[2] + 1))
    counts = (edges[1] - length + 1, len(parts[1]), len(parts[2]))
    reason = f"% of the rows: training, validation from row {borders[0]}, test from {borders[1]}"
    sampled = f"{_SAMPLED} ranges of up to {_STRETCH} windows each"
    found = (
        *choices,
        *planned,
        Choice("split", str(split), reason, "--split"),
        Choice("measured on", sampled, "of validation and of test, evenly spaced, or all windows"),
    )
    record = DataRecord(
        path=printable(folder),
        fingerprint=shards.fingerprint,
        rows=shards.rows,
        targets=table.targets,
        inputs=table.columns[targets:],
        time=None,
        group=None,
        series=1,
        step=ROWS.describe(),
        context=plan.context,
        horizon=plan.horizon,
        season=1,
        windows=counts,
        borders=(f"row {borders[0]}", f"row {borders[1]}"),
        choices=tuple(found),
    )
    # two rows with the mean and standard deviation of all training rows
    scale = torch.stack([moments.mean - moments.spread, moments.mean + moments.spread])
    stream = BlockStream(shards, plan, targets, edges[1])
    return Problem(
        table,
        plan,
        Parts(parts[0], parts[1], parts[2], (edges[1], edges[2]), scale),
        record,
        stream=stream,
    )


def _stretches(low: int, high: int, length: int) -> list[tuple[int, int]]:
    """Choose evenly spaced row ranges in low..high, or all of it if it is short."""
    size = _STRETCH + length - 1
    if high - low <= _SAMPLED * size:
        return [(low, high)]
    begins = np.linspace(low, high - size, _SAMPLED).round().astype(int)
    return [(int(b), int(b) + size) for b in begins]


def _table(
    source: Source,
    shards: Shards,
    options: DataOptions,
    spans: list[tuple[int, int]],
    *,
    lazy: bool = False,
) -> Table:
    """Build a table of row ranges, with row numbers as times; ``lazy``: without values."""
    blocks = [np.empty((0, len(shards.columns)))] if lazy else [shards.read(*s) for s in spans]
    series: list[Series] = []
    for begin, end in spans:
        start = series[-1].stop if series else 0
        series.append(Series("", start, start + end - begin))
    times = np.concatenate(
        [np.arange(begin, end) + 1 for begin, end in ([] if lazy else spans)]
        or [np.empty(0, dtype=np.int64)]
    )
    whole = np.ones(len(times), dtype=bool)
    return Table(
        source=source,
        rows=shards.rows,
        columns=shards.columns,
        options=options,
        time=None,
        clock=ROWS,
        series=tuple(series),
        values=np.concatenate(blocks),
        times=times,
        observed=whole,
        scored=np.ones((len(times), len(options.target or ())), dtype=bool),
        known=times,
        usable=whole,
        choices=source.choices,
    )


def tail_table(folder: Path, options: DataOptions, steps: int) -> Table:
    """Read the last rows of a folder as a table."""
    shards, options, choices = open_shards(folder, options)
    source = Source(printable(folder), shards.fingerprint, 1, choices)
    begin = max(0, shards.rows - steps)
    return _table(source, shards, options, [(begin, shards.rows)])


@dataclass(frozen=True)
class BlockStream:
    """The windows of all training rows, in blocks."""

    shards: Shards
    plan: WindowPlan
    targets: int
    rows: int  # in the training part

    @property
    def starts(self) -> list[tuple[int, int]]:
        """The range of windows that begin in each block, end exclusive."""
        last = self.rows - self.plan.context - self.plan.horizon + 1
        size = self.shards.block
        return [(begin, min(begin + size, last)) for begin in range(0, last, size)]

    def windows(self, number: int) -> Windows:
        """Read the windows that begin in a block."""
        begin, end = self.starts[number]
        length = self.plan.context + self.plan.horizon
        values = torch.from_numpy(self.shards.read(begin, end + length - 1))
        return Windows(values, torch.arange(end - begin), self.plan, self.targets)

    def __iter__(self) -> Iterator[Windows]:
        return (self.windows(number) for number in range(len(self.starts)))
