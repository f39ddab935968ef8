"""A file to a table of text: CSV (any delimiter, gzip), Parquet, Arrow.

Nothing is dropped, filled or converted here without a word: a row that does not fit is an error
that names it. Rows are counted as a spreadsheet counts them, the header being row 1.
"""

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.errors import InputError, nearest
from throughtime.files import fingerprint

MISSING_WORDS = ("", "na", "n/a", "nan", "null", "none", ".", "?", "-")
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Choice:
    """Something the program decided, why, and the option that decides otherwise."""

    name: str
    value: str
    reason: str
    option: str = ""


@dataclass(frozen=True)
class Source:
    """The file that a table came from."""

    path: str
    fingerprint: str  # SHA-256 of its bytes
    first_row: int  # number of the first data row: 2 below a header, 1 where there is none
    choices: tuple[Choice, ...]

    def row(self, index: int) -> int:
        """The row number people see, of the data row `index` (from 0)."""
        return self.first_row + index


def read_frame(path: Path, delimiter: str | None = None) -> tuple[pl.DataFrame, Source]:
    """Read a table; columns of a CSV stay text, stripped, with missing values as null.

    >>> frame, source = read_frame(Path("data.csv"))

    Raises InputError for a missing, empty, damaged, foreign or ragged file.
    """
    where = str(path)
    raw = _read_bytes(path)
    mark = fingerprint(raw)
    if raw[:4] == b"PAR1" or raw[:6] == b"ARROW1":
        kind = "Parquet" if raw[:4] == b"PAR1" else "Arrow"
        try:
            reader = pl.read_parquet if kind == "Parquet" else pl.read_ipc
            frame = reader(io.BytesIO(raw))
        except Exception as error:
            raise InputError(
                where, f"this {kind} file cannot be read ({error})", "write it again"
            ) from error
        if frame.is_empty():
            raise InputError(where, f"this {kind} file has no rows", "give one that has")
        return frame, Source(where, mark, 1, (Choice("format", kind, "by its first bytes"),))

    choices: list[Choice] = []
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(where, f"cut or damaged gzip ({error})", "pack it again") from error
        choices.append(Choice("format", "CSV in gzip", "by its first bytes"))
    frame, found = _read_csv(raw, where, delimiter)
    return frame, Source(where, mark, 2, (*choices, *found))


def _read_bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(str(path), "no such file", nearest(path.name, sorted(there))) from None
    except IsADirectoryError:
        raise InputError(str(path), "this is a folder", "name one file in it") from None
    except OSError as error:
        raise InputError(str(path), f"cannot be read ({error.strerror})", "check it") from None
    if not raw.strip():
        raise InputError(str(path), "the file is empty", "give one with a header and rows")
    return raw


def _read_csv(
    raw: bytes, where: str, delimiter: str | None
) -> tuple[pl.DataFrame, tuple[Choice, ...]]:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise InputError(
            where, "not a text file in UTF-8", "save it as CSV in UTF-8, Parquet or Arrow"
        )
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = raw.strip(b"\n") + b"\n"
    header = raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    separator, choice = _delimiter(header, where, delimiter)
    _check_utf8(raw, where, separator)
    if b'"' in raw:
        # one reader must decide what a quote means, for the check and for the values
        rows = _quoted_rows(raw, where, separator)
        names = _names(rows[0], where)
        _check_fields(np.array([len(row) for row in rows]), where, names)
        frame = pl.DataFrame(rows[1:], schema=dict.fromkeys(names, pl.String), orient="row")
    else:
        names = _names(header.split(separator), where)
        _check_fields(_field_counts(raw, separator), where, names)
        frame = pl.read_csv(
            io.BytesIO(raw.split(b"\n", 1)[1]),
            has_header=False,
            new_columns=names,
            separator=separator,
            quote_char=None,
            infer_schema=False,
        )
    text = pl.all().str.strip_chars()
    frame = frame.select(
        pl.when(text.str.to_lowercase().is_in(MISSING_WORDS)).then(None).otherwise(text).name.keep()
    )
    return frame, choice


def _delimiter(header: str, where: str, given: str | None) -> tuple[str, tuple[Choice, ...]]:
    if given is not None:
        given = {"tab": "\t", "\\t": "\t"}.get(given, given)
        if len(given.encode()) != 1:
            raise InputError(where, f"--delimiter {given!r}", "give one character, or 'tab'")
        return given, ()
    bare = re.sub(r'"[^"]*"', "", header)  # a delimiter inside quotes is none
    counts = {d: bare.count(d) for d in DELIMITERS}
    best = max(counts, key=lambda d: counts[d])
    if not counts[best]:
        return ",", (Choice("delimiter", "none", "the header has one column", "--delimiter"),)
    reason = f"{counts[best]} in the header"
    return best, (Choice("delimiter", DELIMITERS[best], reason, "--delimiter"),)


def _names(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() or f"column_{i}" for i, cell in enumerate(cells, start=1)]
    if all(_is_number(cell) for cell in cells):
        raise InputError(
            f"{where}, row 1", "numbers where the column names belong", "add a header row"
        )
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise InputError(
            f"{where}, row 1", f"column {double[0]!r} stands there twice", "rename one of them"
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_utf8(raw: bytes, where: str, separator: str) -> None:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        line_start = raw.rfind(b"\n", 0, error.start) + 1
        at = raw.count(separator.encode(), line_start, error.start)
        names = raw.split(b"\n", 1)[0].decode("utf-8", "replace").split(separator)
        column = f", column {names[at].strip()!r}" if row > 1 and at < len(names) else ""
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


def _quoted_rows(raw: bytes, where: str, separator: str) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        lines = io.StringIO(raw.decode(), newline="")
        rows.extend(row or [""] for row in csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{where}, row {len(rows) + 1}",
            f"a quoted field that does not end ({error})",
            "the file may be cut there: get the whole file, or close the quote",
        ) from None
    return rows


def _check_fields(fields: np.ndarray, where: str, names: list[str]) -> None:
    """Every row has as many fields as the header, and the last one is whole."""
    if len(fields) < 2:
        raise InputError(where, "a header and no rows", "give a file with data below the header")
    wrong = np.flatnonzero(fields != len(names))
    if not wrong.size:
        return
    row = int(wrong[0]) + 1
    count = int(fields[wrong[0]])
    if row == len(fields) and count < len(names):
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
