"""Read files of sequences: `.ts` of the UCR and UEA archives, and numpy `.npz`."""

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from throughtime.bounded_reads import read_given, read_regular
from throughtime.data.sequences.collection import Read
from throughtime.data.sources import DataSource, MemorySequences
from throughtime.data.tables.reading import most_unpacked
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.escapes import printable
from throughtime.files import fingerprint
from throughtime.specs import SequenceSpec

_PARTNERS = {"_TRAIN": "_TEST", "_train": "_test"}
_MARK = b"@data"


def read_archive(
    path: DataSource, options: DataOptions = DataOptions(), *, learned: SequenceSpec | None = None
) -> Read:
    """Read the sequences of a `.ts` or `.npz` file.

    `NAME_TRAIN.ts` is read together with `NAME_TEST.ts` in the same folder, which becomes the test
    part, unless they are read for a trained model (``learned``). A `.npz` file has `x` [N,T,C], or
    [R,C] with `lengths` [N]; and `y` [N], or [N,T] or [R] for labels at every step. Whole numbers
    and text are classes, other numbers are regression targets. `part` [N] may give the parts.

    Raises InputError that names file, line or array.
    """
    if isinstance(path, MemorySequences):
        parts = [f"{name} {a.shape} {a.dtype}" for name, a in sorted(path.arrays.items())]
        raw = [np.ascontiguousarray(a).tobytes() for _, a in sorted(path.arrays.items())]
        mark = fingerprint(b"".join([*(part.encode() for part in parts), *raw]))
        return _of_arrays(path.arrays, str(path), mark)._replace(options=options)
    if not isinstance(path, Path):
        raise InputError(str(path), "not a file of sequences", "give arrays, or a .ts or .npz file")
    if path.suffix.lower() == ".npz":
        return _read_npz(path)._replace(options=options)
    read = _read_ts(path)._replace(options=options)
    for other in [] if learned else partners(path):
        return _joined(read, _read_ts(other, read_regular))
    return read


def partners(path: Path) -> list[Path]:
    """Return the test file that belongs to a training file, if it exists."""
    for train, test in _PARTNERS.items():
        if path.stem.endswith(train):
            other = path.with_name(path.stem.removesuffix(train) + test + path.suffix)
            if other.exists():
                return [other]
    return []


def _joined(train: Read, test: Read) -> Read:
    if len(train.columns) != len(test.columns) or (train.words is None) != (test.words is None):
        raise InputError(
            test.where,
            f"{len(test.columns)} dimensions, but {train.where} has {len(train.columns)}, or the "
            "kinds of labels differ",
            "give two files of the same data set",
        )
    parts = [np.full(len(read.lengths), name) for read, name in ((train, "train"), (test, "test"))]
    numbers = None
    if train.numbers is not None and test.numbers is not None:
        numbers = np.concatenate([train.numbers, test.numbers])
    return train._replace(
        values=np.concatenate([train.values, test.values]),
        lengths=np.concatenate([train.lengths, test.lengths]),
        words=None if train.words is None else [*train.words, *(test.words or [])],
        numbers=numbers,
        part=np.concatenate(parts),
        fingerprint=fingerprint((train.fingerprint + test.fingerprint).encode()),
        rows=(*train.rows, *test.rows),
    )


# ------------------------------------------------------------------------------------- .ts


def _read_ts(path: Path, read: Callable[[Path], bytes] = read_given) -> Read:
    where = printable(path)
    raw = read(path)
    lines = raw.removeprefix(b"\xef\xbb\xbf").splitlines()
    header: dict[str, list[str]] = {}
    begin = None
    for number, line in enumerate(lines):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        if text.lower() == _MARK:
            begin = number + 1
            break
        if not text.startswith(b"@"):
            raise InputError(
                f"{where}, line {number + 1}",
                f"{_short(text)} before @data",
                "begin each line before @data with # or @",
            )
        words = text.decode("utf-8", "replace").split()
        header[words[0].lower()] = words[1:]
    if begin is None:
        raise InputError(
            where, "there is no line @data", "give a complete .ts file of the UCR or UEA archive"
        )
    header = {name: words or ["false"] for name, words in header.items()}
    if header.get("@timestamps", ["false"])[0].lower() == "true":
        raise InputError(
            where,
            "steps with time stamps are not supported",
            "convert it to CSV and set --time and --group",
        )
    labelled = header.get("@classlabel", header.get("@targetlabel", ["false"]))
    has_label = labelled[0].lower() == "true"
    known = set(header.get("@classlabel", [])[1:])
    blocks: list[np.ndarray] = []
    words_: list[str | None] = []
    rows: list[tuple[str, int]] = []
    dimensions = 0
    for number in range(begin, len(lines)):
        line = lines[number].strip()
        if not line or line.startswith(b"#"):
            continue
        at = f"{where}, line {number + 1}"
        fields = line.split(b":")
        label = fields.pop().decode("utf-8", "replace").strip() if has_label else None
        if label is not None and known and label not in known:
            raise InputError(
                at,
                f"class {label!r} is not in @classLabel",
                "correct the line, or get a complete copy if the file is truncated",
            )
        dimensions = dimensions or len(fields)
        if len(fields) != dimensions or not fields:
            raise InputError(
                at,
                f"{len(fields)} dimensions, but the first sequence has {dimensions}",
                "correct the line, or get a complete copy if the file is truncated",
            )
        blocks.append(_steps(fields, at))
        words_.append(label)
        rows.append((where, number + 1))
    if not blocks:
        raise InputError(where, "there are no sequences after @data", "give a file with sequences")
    regression = "@targetlabel" in header and has_label
    return Read(
        values=np.concatenate(blocks),
        lengths=np.array([len(block) for block in blocks]),
        columns=tuple(f"dimension {k + 1}" for k in range(dimensions)),
        words=words_ if has_label and not regression else None,
        numbers=_target_numbers(words_, rows) if regression else None,
        every_step=False,
        part=None,
        where=where,
        fingerprint=fingerprint(raw),
        rows=tuple(rows),
    )


def _steps(fields: list[bytes], at: str) -> np.ndarray:
    """Parse one sequence [T,C] from its dimensions as text."""
    columns: list[np.ndarray] = []
    for number, field in enumerate(fields, start=1):
        cells = [cell.strip() for cell in field.split(b",")] if field.strip() else []
        try:
            values = [
                float("nan") if cell in (b"?", b"NaN", b"") else float(cell) for cell in cells
            ]
        except ValueError:
            bad = next(cell for cell in cells if not _is_number(cell))
            raise InputError(
                f"{at}, dimension {number}", f"{_short(bad)} is not a number", "correct it"
            ) from None
        columns.append(np.array(values))
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise InputError(
            at,
            f"the dimensions of a sequence have {min(lengths)} to {max(lengths)} steps",
            "give all dimensions of a sequence the same number of steps",
        )
    block = np.column_stack(columns)
    if not len(block):
        raise InputError(at, "the sequence has no steps", "remove the line")
    if np.isinf(block).any():
        raise InputError(at, "an infinite value", "correct it, or write ? for a missing value")
    return block


def _target_numbers(words: list[str | None], rows: list[tuple[str, int]]) -> np.ndarray:
    found: list[float] = []
    for word, (where, line) in zip(words, rows, strict=True):
        try:
            value = float(word or "")
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise InputError(
                f"{where}, line {line}", f"target {word!r} is not a number", "correct it"
            )
        found.append(value)
    return np.array(found)[:, None]


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell in (b"?", b"")
    return True


def _short(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))


# ------------------------------------------------------------------------------------ .npz


def _read_npz(path: Path) -> Read:
    where = printable(path)
    raw = read_given(path)
    return _of_arrays(_arrays(raw, where), where, fingerprint(raw))


def _of_arrays(arrays: Mapping[str, np.ndarray], where: str, mark: str) -> Read:
    x = arrays.get("x", arrays.get("X"))
    y = arrays.get("y", arrays.get("Y"))
    if x is None:
        raise InputError(
            where,
            f"there is no array x (arrays: {', '.join(sorted(arrays)) or 'none'})",
            "save x [N,T,C], or x [R,C] and lengths [N], and y",
        )
    lengths = arrays.get("lengths")
    x = _numeric(x, f"{where}, array x")
    if lengths is None:
        if x.ndim == 2:
            x = x[:, :, None]
        if x.ndim != 3 or not x.size:
            raise InputError(
                f"{where}, array x",
                f"its shape is {x.shape}",
                "save x [N,T,C], or x [R,C] with lengths [N]",
            )
        lengths = np.full(x.shape[0], x.shape[1])
        x = x.reshape(-1, x.shape[2])
    else:
        whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and len(lengths) > 0
        if x.ndim == 1:
            x = x[:, None]
        fit = whole and x.ndim == 2 and x.size and 1 <= lengths.min() <= lengths.max() <= len(x)
        if not fit or sum(lengths.tolist()) != len(x):
            raise InputError(
                f"{where}, array lengths",
                f"shape {lengths.shape} and type {lengths.dtype} do not fit x of shape {x.shape}",
                "save lengths [N] as whole numbers, 1 or more, that add up to the rows of x",
            )
    count = len(lengths)
    words, numbers, every_step = _answers(y, count, len(x), where)
    part = arrays.get("part")
    if part is not None:
        right = part.shape == (count,) and part.dtype.kind == "U"
        if not right or {*part.tolist()} - {"train", "validation", "test"}:
            raise InputError(
                f"{where}, array part",
                f"shape {part.shape} and type {part.dtype}, or an unknown part",
                f"save train, validation or test for each of the {count} sequences",
            )
    return Read(
        x,
        lengths.astype(np.int64),
        tuple(f"column {k + 1}" for k in range(x.shape[1])),
        words,
        numbers,
        every_step,
        part,
        where,
        mark,
        tuple((where, k + 1) for k in range(count)),
    )


def _arrays(raw: bytes, where: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    most = most_unpacked(len(raw))
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            size = sum(entry.file_size for entry in file.infolist())
            if size > most:
                raise InputError(
                    where,
                    f"{len(raw):,} bytes that unpack to {size:,}; at most {most:,} are allowed",
                    "save it without compression, or split it",
                )
            for entry in file.infolist():
                name = entry.filename.removesuffix(".npy")
                found[name] = _array(file.read(entry), f"{where}, array {name}")
    except InputError:
        raise
    except Exception as error:  # a damaged file raises errors of zlib, zipfile and others
        raise InputError(
            where,
            f"cannot be read as .npz ({str(error)[:80] or type(error).__name__})",
            "save plain arrays with numpy.savez",
        ) from None
    return found


def _array(content: bytes, where: str) -> np.ndarray:
    """Load one array of a .npz file. Raises InputError if its size differs from its header."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise InputError(where, "it contains Python objects", "save plain arrays with numpy.savez")
    declared, present = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if declared != present:
        raise InputError(
            where, f"{present:,} bytes, but its header declares {declared:,}", "save the file again"
        )
    return np.load(io.BytesIO(content), allow_pickle=False)


def _numeric(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise InputError(where, f"its type {array.dtype} is not a real number", "save real numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    if np.isinf(array).any():
        at = tuple(int(k) for k in np.argwhere(np.isinf(array))[0])
        raise InputError(
            where, f"an infinite value at {list(at)}", "correct it, or save NaN if missing"
        )
    return array


def _answers(
    y: np.ndarray | None, count: int, rows: int, where: str
) -> tuple[list[str | None] | None, np.ndarray | None, bool]:
    """Return classes or numbers of sequences, or of all steps, concatenated."""
    if y is None:
        return None, None, False
    if not y.size or not y.ndim:
        raise InputError(
            f"{where}, array y", f"its shape is {y.shape}", "give a label per sequence"
        )
    if y.shape[:1] == (count,) and (y.ndim == 1 or (y.dtype.kind == "f" and y.size // count < 2)):
        flat, every_step = y, False
    elif y.size and y.size % rows == 0 and (y.shape[0] == rows or y.ndim > 1):
        flat, every_step = y.reshape(rows, -1) if y.size > rows else y.reshape(rows), True
    else:
        raise InputError(
            f"{where}, array y",
            f"its shape is {y.shape}",
            f"give one label for each of {count} sequences, or for each of {rows} steps",
        )
    whole = np.equal(np.floor(flat), flat) | np.isnan(flat) if flat.dtype.kind == "f" else None
    if whole is not None and (flat.ndim > 1 or not whole.all()):
        if np.isinf(flat).any():
            raise InputError(
                f"{where}, array y", "an infinite value", "correct it, or save NaN if unknown"
            )
        return None, flat.reshape(len(flat), -1), every_step
    if flat.ndim > 1:
        raise InputError(
            f"{where}, array y",
            f"classes of shape {y.shape}",
            "give one class per sequence or step",
        )
    if flat.dtype.kind == "f":
        return [None if np.isnan(v) else f"{v:g}" for v in flat], None, every_step
    if flat.dtype.kind not in "iubU":
        raise InputError(
            f"{where}, array y", f"unsupported type {flat.dtype}", "save numbers or text"
        )
    try:
        words: list[str | None] = [str(v) for v in flat.tolist()]
        "".join(map(str, words)).encode()
    except (SystemError, ValueError):  # invalid code points
        raise InputError(
            f"{where}, array y", "the labels are not valid text", "save valid Unicode text"
        ) from None
    return words, None, every_step
