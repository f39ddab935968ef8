"""A file to a table of text: CSV (any delimiter, gzip), Parquet, Arrow.

Nothing is dropped, filled or converted here without a word: a row that does not fit is an error
that names it. Rows are counted as the file's lines, the header among them, from 1.
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
_MOST_PACKED, _LEAST_UNPACKED = 200, 50_000_000  # times smaller; bytes, whatever the ratio
_MOST_COLUMNS = 10_000
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Source:
    """The file that a table came from."""

    path: str
    fingerprint: str  # SHA-256 of its bytes
    first_row: int  # number of the first data row: below the header, 1 where there is none
    choices: tuple[Choice, ...]
    order: np.ndarray | None = None  # data rows that rows were made of, where they were

    def row(self, index: int) -> int:
        """The row number people see, of the data row `index` (from 0)."""
        return self.first_row + (index if self.order is None else int(self.order[index]))


def listed(words: Sequence[str], between: str = ", ") -> str:
    """The first few of many words, and how many there are more."""
    more = [f"and {len(words) - 4} more"] if len(words) > 4 else []
    return between.join([*words[:4], *more])


def read_frame(
    path: DataSource, delimiter: str | None = None, labels: Sequence[str | None] = ()
) -> tuple[pl.DataFrame, Source]:
    """Read a table; columns of a CSV stay text, stripped, with missing values as null.

    >>> frame, source = read_frame(Path("data.csv"))

    ``labels``: columns of names, in which words like NA are no missing values.

    Raises InputError for a missing, empty, damaged, foreign or ragged file.
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
        # over all columns at once: an expression for each takes as long as reading them
        pl.when(columns.str.to_lowercase().is_in(words)).then(None).otherwise(columns).name.keep()
        for columns, words in ((names, [""]), (pl.selectors.all() - names, MISSING_WORDS))
    )
    return frame, Source(where, mark, header + 1, (*choices, *found))


_BINARY = {
    b"PAR1": ("Parquet", "read_parquet"),
    b"ARROW1": ("Arrow", "read_ipc"),
    b"\xff\xff\xff\xff": ("Arrow stream", "read_ipc_stream"),
}
# read in another process first: some damaged files end the process that reads them
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

    Reading happens in another process, which some damaged files end. That process never imports
    from the current folder (-P).
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", _TRIAL, reader, *map(str, files)],
        input=raw,
        capture_output=True,
        env={**os.environ, "RUST_BACKTRACE": "0"},
        check=False,
    )
    if done.returncode:
        told = done.stdout.decode(errors="replace").splitlines()
        at = literal_eval(told[-1]) if told else where
        lines = done.stderr.decode(errors="replace").splitlines()
        lines = [line for line in lines if line and not line.startswith(" ")]
        said = [line for line in lines if "Error: " in line or "allocation of" in line]
        why = (said or ["it ends its reader"])[-1].removeprefix("polars.exceptions.")[:100]
        raise InputError(at, f"this {kind} file cannot be read ({why})", "write it again")


@contextmanager
def polars_name(file: Path) -> Generator[str]:
    """A name under which polars can open a file: it takes none that is not UTF-8."""
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
    raise InputError(str(path), "no table", "give a data frame or a file")


def _fingerprint(frame: pl.DataFrame) -> str:
    """Of a table in memory: equal values in equal columns have an equal one."""
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer)
    return fingerprint(buffer.getvalue())


def _read_binary(raw: bytes, where: str, kind: str, reader: str) -> pl.DataFrame:
    survive(where, kind, reader, raw)
    with library_errors(where, f"this {kind} file cannot be read", "write it again"):
        frame: pl.DataFrame = getattr(pl, reader)(io.BytesIO(raw))
    return _checked(frame, where, f"{kind} file")


def _checked(frame: pl.DataFrame, where: str, kind: str) -> pl.DataFrame:
    """A table with types. Raises InputError for one without rows, or that no reader could use."""
    _refuse_wide(frame.width, where)
    if frame.is_empty():
        raise InputError(where, f"this {kind} has no rows", "give one that has")
    for column in frame.iter_columns():
        if column.dtype.is_temporal() and isinstance(column.dtype, pl.Date | pl.Datetime):
            _refuse_far(column, where)
    return frame


def _refuse_far(column: pl.Series, where: str) -> None:
    """Raise InputError for a date that no calendar is written for."""
    unit = getattr(column.dtype, "time_unit", "d")
    days = {"d": 1, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[unit]
    low, high = -354_285 * days, 2_932_896 * days  # the years 1000 to 9999
    far = ~column.to_physical().is_between(low, high).fill_null(True)
    if far.any():
        row = int(far.arg_max() or 0) + 1
        raise InputError(
            f"{where}, row {row}, column {column.name!r}",
            "a date beyond the years 1000 to 9999",
            "write another, or leave it empty",
        )


def most_unpacked(packed: int) -> int:
    """How many bytes so many compressed ones may become, so that a small file takes no memory."""
    return min(MOST_BYTES, _LEAST_UNPACKED + _MOST_PACKED * packed)


def _unpacked(raw: bytes, where: str) -> bytes:
    """What a gzip holds. Raises InputError for one that is damaged, or far larger than it looks."""
    most = most_unpacked(len(raw))
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(where, f"cut or damaged gzip ({error})", "pack it again") from error
    if len(content) > most:
        raise InputError(
            where, f"{len(raw):,} bytes that unpack to more than {most:,}", "unpack it yourself"
        )
    return content


def _read_csv(
    raw: bytes, where: str, delimiter: str | None
) -> tuple[pl.DataFrame, int, tuple[Choice, ...]]:
    """The table as text, the line that its header stands in, and what was decided."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise InputError(
            where, "not a text file in UTF-8", "save it as CSV in UTF-8, Parquet or Arrow"
        )
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not raw.strip():
        raise InputError(where, "the file is empty", "give one with a header and rows")
    first = len(raw) - len(raw.lstrip(b"\n")) + 1  # the line of the header
    ended = raw.endswith(b"\n")
    raw = raw.strip(b"\n") + b"\n"
    header = raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    separator, choices = _delimiter(header, where, delimiter)
    _check_utf8(raw, where, separator, first)
    if b'"' in raw:
        # one reader must decide what a quote means, for the check and for the values
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
    """What a last row without a line end may mean: a file that was cut, or one so written."""
    row = first + len(frame)
    if not frame.item(-1, -1):
        raise InputError(
            f"{where}, row {row}, column {frame.columns[-1]!r}",
            "the file ends with an empty field and no line end: it is cut there",
            "get the whole file, or end the row with a line end if it is whole",
        )
    reason = "it has no line end: if the file was cut there, its last value may be cut too"
    return Choice("last row", f"row {row}, taken as whole", reason)


def _delimiter(header: str, where: str, given: str | None) -> tuple[str, tuple[Choice, ...]]:
    bare = re.sub(r'"[^"]*"', "", header)  # a delimiter inside quotes is none
    counts = {d: bare.count(d) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if given is not None:
        given = {"tab": "\t", "\\t": "\t"}.get(given, given)
        if len(given.encode()) != 1:
            raise InputError(where, f"--delimiter {given!r}", "give one character, or 'tab'")
        if given not in bare and counts[best]:
            raise InputError(
                where,
                f"no {given!r} in the header {header[:60]!r}",
                f"set --delimiter to what stands between the fields ({DELIMITERS[best]}?)",
            )
        return given, ()
    if not counts[best]:
        return ",", (Choice("delimiter", "none", "the header has one column", "--delimiter"),)
    reason = f"{counts[best]} in the header"
    return best, (Choice("delimiter", DELIMITERS[best], reason, "--delimiter"),)


def _refuse_wide(count: int, where: str) -> None:
    if count > _MOST_COLUMNS:
        raise InputError(
            where, f"{count:,} columns; at most {_MOST_COLUMNS:,} are read", "keep those you need"
        )


def _names(cells: list[str], where: str, first: int) -> list[str]:
    _refuse_wide(len(cells), where)
    cells = [cell.strip() for cell in cells]
    names = [cell or f"column_{i}" for i, cell in enumerate(cells, start=1)]
    values = [cell for cell in cells if _is_value(cell)]
    # pandas names the columns of a nameless table 0, 1, ... and its index not at all
    counted = values == [str(i) for i in range(len(values))] and len(values) < len(cells)
    if values and not counted:
        raise InputError(
            f"{where}, row {first}",
            f"{values[0]!r} where the names of columns belong",
            "add a header row, or begin a name that is a number or a date with a letter",
        )
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise InputError(
            f"{where}, row {first}",
            f"column {double[0]!r} stands there twice",
            "rename one of them",
        )
    return names


# 2020-01, 31.12.2020, 1/15/2020 9:00, 2020 Q1, 12:30
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?|\d{4}[ -]?Q[1-4]|\d\d?(:\d\d)+")


def _is_value(cell: str) -> bool:
    """Whether it belongs below a header: a number or a date."""
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
    """Fields in each line of a file without quotes."""
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
            f"a quoted field that does not end ({error})",
            "the file may be cut there: get the whole file, or close the quote",
        ) from None
    return rows


def _check_fields(fields: np.ndarray, where: str, names: list[str], first: int) -> None:
    """Every row has as many fields as the header, and the last one is whole."""
    if len(fields) < 2:
        raise InputError(where, "a header and no rows", "give a file with data below the header")
    wrong = np.flatnonzero(fields != len(names))
    if not wrong.size:
        return
    row = int(wrong[0]) + first
    count = int(fields[wrong[0]])
    if wrong[0] == len(fields) - 1 and count < len(names):
        raise InputError(
            f"{where}, row {row}",
            f"the file is cut in the middle of its last row ({count} of {len(names)} fields)",
            "get the whole file, or remove that row",
        )
    raise InputError(
        f"{where}, row {row}",
        f"{count} fields where the header has {len(names)}",
        "mend the row, or set --delimiter",
    )
