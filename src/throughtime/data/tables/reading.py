"""Read tables from CSV (any delimiter, gzip), Parquet and Arrow files.

Nothing is dropped, filled or converted silently: an invalid row raises an error that names it. Row
numbers are the line numbers of the file, from 1, including the header.
"""

import csv
import gzip
import io
import os
import re
import subprocess
import sys
import zlib
from ast import literal_eval
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.bounded_reads import MOST_BYTES, read_given
from throughtime.data.sources import DataSource, MemoryFile, MemoryTable
from throughtime.errors import InputError
from throughtime.escapes import printable
from throughtime.files import fingerprint
from throughtime.library_errors import library_errors
from throughtime.runs import Choice

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", ".", "?", "-")
# largest compression ratio, and the unpacked bytes that are allowed at any ratio
_MOST_PACKED, _LEAST_UNPACKED = 200, 50_000_000
_MOST_COLUMNS = 10_000
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Source:
    """The file that a table was read from."""

    path: str
    fingerprint: str  # SHA-256 of its bytes
    first_row: int  # row number of the first data row (1 without a header)
    choices: tuple[Choice, ...]
    order: np.ndarray | None = None  # the data row of each row after resampling

    def row(self, index: int) -> int:
        """Return the row number in the file of the data row `index` (from 0)."""
        return self.first_row + (index if self.order is None else int(self.order[index]))


def listed(words: Sequence[str], between: str = ", ") -> str:
    """Join the first four words and the number of further ones."""
    more = [f"and {len(words) - 4} more"] if len(words) > 4 else []
    return between.join([*words[:4], *more])


def read_frame(
    path: DataSource, delimiter: str | None = None, labels: Sequence[str | None] = ()
) -> tuple[pl.DataFrame, Source]:
    """Read a table; CSV columns are stripped text, with null for missing values.

    >>> frame, source = read_frame(Path("data.csv"))

    ``labels``: columns of names, in which words like NA are not missing values.

    Raises InputError for a file that is missing, empty, damaged, ragged or of another format.
    """
    where = printable(path)
    if isinstance(path, MemoryTable):
        return _checked(path.frame, where, "table"), Source(where, _fingerprint(path.frame), 1, ())
    raw = path.raw if isinstance(path, MemoryFile) else read_given(_as_file(path))
    mark = fingerprint(raw)
    for first_bytes, (kind, reader) in _BINARY.items():
        if raw.startswith(first_bytes):
            return _read_binary(raw, where, kind, reader), Source(
                where, mark, 1, (Choice("format", kind, "by its first bytes"),)
            )
    choices: list[Choice] = []
    if raw[:2] == b"\x1f\x8b":
        raw = _unpacked(raw, where)
        choices.append(Choice("format", "CSV in gzip", "by its first bytes"))
    frame, header, found = _read_csv(raw, where, delimiter)
    names = pl.selectors.by_name(*{name for name in labels if name}, require_all=False)
    frame = frame.with_columns(
        # one expression for all columns: one per column takes as long as reading the file
        pl.when(columns.str.to_lowercase().is_in(words)).then(None).otherwise(columns).name.keep()
        for columns, words in ((names, [""]), (pl.selectors.all() - names, MISSING_WORDS))
    )
    return frame, Source(where, mark, header + 1, (*choices, *found))


_BINARY = {
    b"PAR1": ("Parquet", "read_parquet"),
    b"ARROW1": ("Arrow", "read_ipc"),
    b"\xff\xff\xff\xff": ("Arrow stream", "read_ipc_stream"),
}
# run in a child process first: some damaged files crash the process that reads them
_TRIAL = """import io, sys, polars
reader, *files = sys.argv[1:]
for file in files:
    print(ascii(file), flush=True)
    if not file.isascii():
        opened = open(file, "rb")
        file = f"/dev/fd/{opened.fileno()}"
    frame = polars.scan_parquet(file, glob=False)
    frame.select(polars.all().max()).collect(engine="streaming")
if not files:
    getattr(polars, reader)(io.BytesIO(sys.stdin.buffer.read()))
"""


def survive(
    where: str, kind: str, reader: str, raw: bytes = b"", files: Sequence[Path] = ()
) -> None:
    """Raise InputError for bytes, or for the first file, that polars cannot read.

    Files are read in a child process, because some damaged files crash the reader. The child does
    not import modules from the current folder (-P).
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TRIAL, reader, *map(str, files)],
        input=raw,
        capture_output=True,
        env={**os.environ, "RUST_BACKTRACE": "0"},
        check=False,
    )
    if done.returncode:
        printed = done.stdout.decode(errors="replace").splitlines()
        at = literal_eval(printed[-1]) if printed else where
        lines = done.stderr.decode(errors="replace").splitlines()
        lines = [line for line in lines if line and not line.startswith(" ")]
        errors = [line for line in lines if "Error: " in line or "allocation of" in line]
        why = (errors or ["it crashes the reader"])[-1].removeprefix("polars.exceptions.")[:100]
        raise InputError(at, f"this {kind} file cannot be read ({why})", "write the file again")


@contextmanager
def polars_name(file: Path) -> Generator[str]:
    """Yield a name that polars can open: it does not accept names that are not UTF-8."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        with file.open("rb") as opened:
            yield f"/dev/fd/{opened.fileno()}"
    else:
        yield str(file)


def _as_file(path: DataSource) -> Path:
    if isinstance(path, Path):
        return path
    raise InputError(str(path), "not a table", "give a data frame or a file")


def _fingerprint(frame: pl.DataFrame) -> str:
    """Compute the fingerprint of a table in memory from its columns and values."""
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer)
    return fingerprint(buffer.getvalue())


def _read_binary(raw: bytes, where: str, kind: str, reader: str) -> pl.DataFrame:
    survive(where, kind, reader, raw)
    with library_errors(where, f"this {kind} file cannot be read", "write the file again"):
        frame: pl.DataFrame = getattr(pl, reader)(io.BytesIO(raw))
    return _checked(frame, where, f"{kind} file")


def _checked(frame: pl.DataFrame, where: str, kind: str) -> pl.DataFrame:
    """Return the table. Raises InputError if it has no rows, or dates out of range."""
    _refuse_wide(frame.width, where)
    if frame.is_empty():
        raise InputError(where, f"this {kind} has no rows", "give one with rows")
    for column in frame.iter_columns():
        if column.dtype.is_temporal() and isinstance(column.dtype, pl.Date | pl.Datetime):
            _refuse_far(column, where)
    return frame


def _refuse_far(column: pl.Series, where: str) -> None:
    """Raise InputError for a date outside the supported years."""
    unit = getattr(column.dtype, "time_unit", "d")
    days = {"d": 1, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[unit]
    low, high = -354_285 * days, 2_932_896 * days  # the years 1000 to 9999
    far = ~column.to_physical().is_between(low, high).fill_null(True)
    if far.any():
        row = int(far.arg_max() or 0) + 1
        raise InputError(
            f"{where}, row {row}, column {column.name!r}",
            "a date outside the years 1000 to 9999",
            "correct the date, or leave it empty",
        )


def most_unpacked(packed: int) -> int:
    """Return the unpacked size to allow, so that a small file cannot exhaust memory."""
    return min(MOST_BYTES, _LEAST_UNPACKED + _MOST_PACKED * packed)


def _unpacked(raw: bytes, where: str) -> bytes:
    """Unpack a gzip file. Raises InputError if it is damaged, or unpacks to too many bytes."""
    most = most_unpacked(len(raw))
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            where, f"truncated or damaged gzip file ({error})", "compress the file again"
        ) from error
    if len(content) > most:
        raise InputError(
            where,
            f"{len(raw):,} bytes that unpack to more than the limit of {most:,}",
            "unpack the file and give the result",
        )
    return content


def _read_csv(
    raw: bytes, where: str, delimiter: str | None
) -> tuple[pl.DataFrame, int, tuple[Choice, ...]]:
    """Return the table as text, the line of its header, and the choices made."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise InputError(
            where, "not a text file in UTF-8", "save it as CSV in UTF-8, Parquet or Arrow"
        )
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not raw.strip():
        raise InputError(where, "the file is empty", "give a file with a header and rows")
    first = len(raw) - len(raw.lstrip(b"\n")) + 1  # the line of the header
    ended = raw.endswith(b"\n")
    raw = raw.strip(b"\n") + b"\n"
    header = raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    separator, choices = _delimiter(header, where, delimiter)
    _check_utf8(raw, where, separator, first)
    if b'"' in raw:
        # use one parser for the check and for the values, so that quotes have one meaning
        rows = _quoted_rows(raw, where, separator, first)
        names = _names(rows[0], where, first)
        _check_fields(np.array([len(row) for row in rows]), where, names, first)
        frame = pl.DataFrame(rows[1:], schema=dict.fromkeys(names, pl.String), orient="row")
    else:
        names = _names(header.split(separator), where, first)
        _check_fields(_field_counts(raw, separator), where, names, first)
        frame = pl.read_csv(
            io.BytesIO(raw.split(b"\n", 1)[1]),
            has_header=False,
            new_columns=names,
            separator=separator,
            quote_char=None,
            infer_schema=False,
        )
    frame = frame.select(pl.all().fill_null("").str.strip_chars())
    if not ended:
        choices = (*choices, _cut_or_not(frame, where, first))
    return frame, first, choices


def _cut_or_not(frame: pl.DataFrame, where: str, first: int) -> Choice:
    """Check a last row without a line end: the file may be truncated."""
    row = first + len(frame)
    if not frame.item(-1, -1):
        raise InputError(
            f"{where}, row {row}, column {frame.columns[-1]!r}",
            "the file ends with an empty field and no line end, so it may be truncated",
            "get a complete copy of the file, or add a line end if the row is complete",
        )
    reason = "it has no line end: if the file is truncated, its last value may be wrong"
    return Choice("last row", f"row {row}, taken as complete", reason)


def _delimiter(header: str, where: str, given: str | None) -> tuple[str, tuple[Choice, ...]]:
    bare = re.sub(r'"[^"]*"', "", header)  # delimiters inside quotes do not count
    counts = {d: bare.count(d) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if given is not None:
        given = {"tab": "\t", "\\t": "\t"}.get(given, given)
        if len(given.encode()) != 1:
            raise InputError(
                where,
                f"--delimiter {given!r} is not a single character",
                "give one character, or 'tab'",
            )
        if given not in bare and counts[best]:
            raise InputError(
                where,
                f"no delimiter {given!r} in the header {header[:60]!r}",
                f"set --delimiter to the character between the fields ({DELIMITERS[best]}?)",
            )
        return given, ()
    if not counts[best]:
        return ",", (Choice("delimiter", "none", "the header has one column", "--delimiter"),)
    reason = f"{counts[best]} in the header"
    return best, (Choice("delimiter", DELIMITERS[best], reason, "--delimiter"),)


def _refuse_wide(count: int, where: str) -> None:
    if count > _MOST_COLUMNS:
        raise InputError(
            where,
            f"{count:,} columns; at most {_MOST_COLUMNS:,} are supported",
            "remove columns that you do not need",
        )


def _names(cells: list[str], where: str, first: int) -> list[str]:
    _refuse_wide(len(cells), where)
    cells = [cell.strip() for cell in cells]
    names = [cell or f"column_{i}" for i, cell in enumerate(cells, start=1)]
    values = [cell for cell in cells if _is_value(cell)]
    # pandas names unnamed columns 0, 1, ... and leaves the index unnamed
    counted = values == [str(i) for i in range(len(values))] and len(values) < len(cells)
    if values and not counted:
        raise InputError(
            f"{where}, row {first}",
            f"{values[0]!r} in the header is a value, not a column name",
            "add a header row, or rename the column to begin with a letter",
        )
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise InputError(
            f"{where}, row {first}",
            f"column name {double[0]!r} appears twice",
            "rename one of them",
        )
    return names


# 2020-01, 31.12.2020, 1/15/2020 9:00, 2020 Q1, 12:30
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?|\d{4}[ -]?Q[1-4]|\d\d?(:\d\d)+")


def _is_value(cell: str) -> bool:
    """Return whether a header cell is a number or a date, that is, not a name."""
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return _DATE.fullmatch(cell) is not None
    return True


def _check_utf8(raw: bytes, where: str, separator: str, first: int) -> None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + first
        line_start = raw.rfind(b"\n", 0, error.start) + 1
        at = raw.count(separator.encode(), line_start, error.start)
        names = raw.split(b"\n", 1)[0].decode("utf-8", "replace").split(separator)
        column = f", column {names[at].strip()!r}" if row > first and at < len(names) else ""
        raise InputError(
            f"{where}, row {row}{column}",
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            "save the file as UTF-8 (for example: iconv -f latin1 -t utf-8)",
        ) from None


def _field_counts(raw: bytes, separator: str) -> np.ndarray:
    """Count the fields in each line of a file without quotes."""
    letters = np.frombuffer(raw, dtype=np.uint8)
    line_ends = np.flatnonzero(letters == ord("\n"))
    line_of = np.searchsorted(line_ends, np.flatnonzero(letters == ord(separator)))
    return np.bincount(line_of, minlength=len(line_ends)) + 1


def _quoted_rows(raw: bytes, where: str, separator: str, first: int) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        lines = io.StringIO(raw.decode(), newline="")
        rows.extend(row or [""] for row in csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{where}, row {len(rows) + first}",
            f"a quoted field is not closed ({error})",
            "close the quote, or get a complete copy if the file is truncated",
        ) from None
    return rows


def _check_fields(fields: np.ndarray, where: str, names: list[str], first: int) -> None:
    """Raise InputError unless every row has as many fields as the header."""
    if len(fields) < 2:
        raise InputError(
            where, "the file has a header but no rows", "give a file with rows below the header"
        )
    wrong = np.flatnonzero(fields != len(names))
    if not wrong.size:
        return
    row = int(wrong[0]) + first
    count = int(fields[wrong[0]])
    if wrong[0] == len(fields) - 1 and count < len(names):
        raise InputError(
            f"{where}, row {row}",
            f"the file is truncated in its last row ({count} of {len(names)} fields)",
            "get a complete copy of the file, or remove that row",
        )
    raise InputError(
        f"{where}, row {row}",
        f"{count} fields, but the header has {len(names)}",
        "correct the row, or set --delimiter",
    )
