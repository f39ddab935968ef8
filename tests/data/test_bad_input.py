"""Invalid input and its error message; the source of the table in docs/data.md.

python tests/data/test_bad_input.py    # prints that table
"""

import gzip
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from throughtime.data.opening import open_problem
from throughtime.data_options import DataOptions as Options
from throughtime.errors import InputError

Y = Options(target=("y",))
T = Options(target=("y",), time="t")
LABEL = Options(label="y")
ROWS = "t,y\n" + "".join(f"2024-01-{1 + k:02},{k}\n" for k in range(30))
DAYS = [np.datetime64("2024-01-01") + k for k in range(60)]


def csv(text, name="x.csv"):
    """A file with the given text or bytes."""

    def make(folder):
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def rows(**changed):
    """Thirty days of numbers; keywords such as row_7="..." replace rows."""
    lines = ROWS.splitlines()
    for key, line in changed.items():
        lines[int(key.removeprefix("row_")) - 1] = line
    return csv("\n".join(lines) + "\n")


def parquet(**columns):
    return lambda folder: _written(pl.DataFrame(columns), folder)


def _written(frame, folder):
    frame.write_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def damaged_parquet(folder):
    """A file with a damaged byte that makes the reader allocate all memory."""
    path = _written(pl.DataFrame({"y": [k * 0.37 % 1 for k in range(80)]}), folder)
    raw = bytearray(path.read_bytes())
    raw[14] = 255
    path.write_bytes(raw)
    return path


def npz(**arrays):
    def make(folder):
        np.savez(folder / "x.npz", **arrays)
        return folder / "x.npz"

    return make


def sound(samples=None, rate=8000, cut=None, name="a/x.wav", **options):
    def make(folder):
        import soundfile

        for k, label in enumerate("ab"):
            (folder / "r" / label).mkdir(parents=True, exist_ok=True)
            for j in range(5):
                wave = np.sin(np.arange(900) * (0.1 + 0.3 * k))
                soundfile.write(folder / "r" / label / f"{j}.wav", wave, 8000)
        path = folder / "r" / name
        soundfile.write(path, np.zeros(800) if samples is None else samples, rate, **options)
        path.write_bytes(path.read_bytes()[:cut])
        return folder / "r"

    return make


def texts(**files):
    def make(folder):
        for name, content in files.items():
            path = folder / "t" / name.replace("__", "/")
            path = path.with_name(path.name + ".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / "t"

    return make


def linked(folder):
    path = texts(a="x " * 999)(folder)
    (path / "loop.txt").symlink_to(path / "loop.txt")
    return path


def piped(folder):
    path = texts(a="x " * 999)(folder)
    os.mkfifo(path / "b.txt")
    return path


def far_larger_unpacked(folder):
    np.savez_compressed(folder / "x.npz", x=np.zeros((10**8, 1), dtype=np.uint8))
    return folder / "x.npz"


def classes(*words, per=20, name="label"):
    lines = [f"g{k},{j},{word}" for k, word in enumerate(words * per) for j in range(3)]
    return csv("g,x,y\n" + "\n".join(lines) + "\n")


GROUPS = Options(label="y", group="g", time="none")
OK = None  # no error

CASES = {
    # tables
    "not UTF-8": (csv(ROWS.encode() + b"2024-02-01,\xe4\n"), Y, "row 32, column 'y': byte 0xe4 is"),
    "UTF-16": (csv(ROWS.encode("utf-16")), Y, "not a text file in UTF-8"),
    "a byte order mark": (csv(b"\xef\xbb\xbf" + ROWS.encode()), Y, OK),
    "line endings of Windows and of old Macs": (csv(ROWS.replace("\n", "\r\n")), Y, OK),
    "an empty file": (csv(""), Y, "the file is empty"),
    "a header and no rows": (csv("t,y\n"), Y, "the file has a header but no rows"),
    "no header": (csv("2024-01-01,1\n2024-01-02,2\n"), Y, "'2024-01-01' in the header is a value"),
    "another delimiter": (csv(ROWS.replace(",", ";")), Y, OK),
    "a table of too many columns": (
        csv(",".join(f"c{k}" for k in range(10_001)) + "\n"),
        Y,
        "10,001 columns; at most 10,000 are supported; remove columns",
    ),
    "a duplicate column name": (
        csv(ROWS.replace("t,y", "y,y")),
        Y,
        "column name 'y' appears twice",
    ),
    "a ragged row": (rows(row_7="2024-01-06,5,9"), Y, "row 7: 3 fields, but the header has 2"),
    "an unclosed quote": (rows(row_7='"2024-01-06,5'), Y, "a quoted field is not closed"),
    "a file truncated in its last row": (
        csv(ROWS + "2024-01-31"),
        Y,
        "the file is truncated in its last row",
    ),
    "a decimal comma": (
        csv("t;y\n" + "".join(f"{d};1,{k}\n" for k, d in enumerate(DAYS))),
        Y,
        r"row 2, column 'y': text '1,0'.* use decimal points",
    ),
    "text among numbers": (rows(row_7="2024-01-06,five"), Y, "row 7, column 'y': text 'five'"),
    "no numbers": (
        csv("t,y\na,b\nc,d\n"),
        Options(),
        "is not a number, and no column is numeric",
    ),
    "NaN": (rows(row_7="2024-01-06,NaN"), Y, "row 7, column 'y': a missing value"),
    "infinity": (rows(row_7="2024-01-06,inf"), Y, "row 7, column 'y': an infinite value"),
    "a number whose square overflows": (
        rows(row_7="2024-01-06,1e200"),
        Y,
        "row 7.* beyond 1e\\+150",
    ),
    "a constant target": (csv("y\n" + "3\n" * 99), Y, "the target is constant"),
    "identifiers of 64 bits": (
        csv("t,id,y\n" + "".join(f"{d},{2**63 + k},{k}\n" for k, d in enumerate(DAYS))),
        Y,
        OK,
    ),
    "three date formats in one column": (
        rows(row_7="06.01.2024,5", row_8="01/07/2024,6"),
        Options(target=("y",), time="t"),
        "row 7, column 't'",
    ),
    "ambiguous day and month": (
        csv("t,y\n" + "".join(f"0{k % 9 + 1}/0{k % 9 + 1}/2024,{k}\n" for k in range(9))),
        Options(target=("y",), time="t"),
        "column 't'",
    ),
    "an invalid date": (
        rows(row_7="2024-02-31,5"),
        Options(("y",), time="t"),
        "row 7, column 't'",
    ),
    "a leap second": (
        csv("t,y\n2016-12-31 23:59:59,1\n2016-12-31 23:59:60,2\n2017-01-01 00:00:00,3\n"),
        T,  # read as the second after it
        "row 4, column 't': the same time as in row 3",
    ),
    "the repeated hour at the end of daylight saving time": (
        csv(
            "t,y\n2024-10-27 01:00,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n2024-10-27 03:00,4\n"
        ),
        Options(("y",), time="t"),
        "row 4, column 't': the same time as in row 3",
    ),
    "times not in order": (
        rows(row_7="2024-01-01,5"),
        Options(("y",), time="t"),
        "an earlier time than",
    ),
    "irregular times": (
        csv("t,y\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n2024-01-01 02:30,3\n"),
        Y,
        "irregular times: .*--resample .* or --gaps",
    ),
    "too few rows": (csv("y\n1\n2\n3\n"), Y, "too short for context"),
    "a row without a group": (
        csv("g,y\na,1\n,2\n"),
        Options(("y",), group="g"),
        "row 3",
    ),
    "a truncated gzip file": (
        csv(gzip.compress(ROWS.encode())[:-9], "x.csv.gz"),
        Y,
        "truncated or damaged",
    ),
    "a gzip file that unpacks to too many bytes": (
        csv(gzip.compress(b"y\n" + b"1\n" * 40_000_000), "x.csv.gz"),
        Y,
        "unpack to more than",
    ),
    "a Parquet file that crashes the reader": (
        damaged_parquet,
        Y,
        "this Parquet file cannot be read",
    ),
    "a truncated Parquet file": (csv(b"PAR1" + bytes(50), "x.parquet"), Y, "cannot be read"),
    "dates out of range": (
        parquet(t=pl.Series([2**62 + k for k in range(80)]).cast(pl.Datetime("ms")), y=range(80)),
        Y,
        "row 1, column 't': a date outside the years 1000 to 9999",
    ),
    "lists in a group column": (
        parquet(g=[[1]] * 80, y=range(80)),
        Options(("y",), group="g"),
        "column 'g': its type List.* cannot be converted",
    ),
    "a column with two roles": (
        csv("t,y\n1,2\n"),
        Options(label="t", time="t"),
        "'t' is used for two roles",
    ),
    # labels
    "a single class": (classes("a"), GROUPS, "there is only one class: a"),
    "a class absent from training": (
        csv(
            "g,x,y,p\n"
            + "".join(f"{k},1,{'ab'[k > 7]},{'train' if k < 8 else 'test'}\n" for k in range(10))
        ),
        Options(label="y", group="g", time="none", part="p"),
        "class b is in the test part but not in the training part",
    ),
    "labels that are all missing": (classes(""), GROUPS, "(only one class|has no labels)"),
    "too few sequences": (classes("a", "b", per=1), GROUPS, "none is left for"),
    # archives
    "an .npz file that unpacks to too many bytes": (
        far_larger_unpacked,
        Options(),
        "unpack to 100,000,",
    ),
    "a .ts file without data": (
        csv("@problemName x\n", "x.ts"),
        Options(),
        "there is no line @data",
    ),
    "a sequence with too few dimensions": (
        csv("@classLabel true a b\n@data\n1,2:3,4:a\n1,2:b\n", "x.ts"),
        Options(),
        "line 4: 1 dimensions, but the first sequence has 2",
    ),
    "Python objects in an .npz file": (
        npz(x=np.array([{}], dtype=object)),
        Options(),
        "Python objects",
    ),
    "lengths that overflow": (
        npz(x=np.ones((4, 1)), lengths=np.array([2**63 - 1, 2**63 - 1, 6]), y=[0, 1, 2]),
        Options(),
        "array lengths",
    ),
    # text
    "text in Latin 1": (
        texts(a=b"sch\xf6n\n" * 99),
        Options(),
        "a.txt, line 1: byte 0xf6 is not UTF",
    ),
    "zero bytes in a text file": (
        texts(a=b"ab\0c"),
        Options(),
        "line 1: a zero byte, so it is not text",
    ),
    "empty documents": (texts(a="", b="word " * 400), Options(), OK),
    "only empty documents": (texts(a="", b=" \n"), Options(), "there is no text in it"),
    "a text too short": (texts(a="word"), Options(), "are too few"),
    "a text outside the class folders": (
        texts(a__x="x", y="y"),
        Options(label="folder"),
        "y.txt: not in a folder named after a class",
    ),
    "a pipe in a folder of texts": (
        piped,
        Options(),
        "b.txt: this is a pipe; only regular files are read",
    ),
    "a link to itself": (linked, Options(), "loop.txt: cannot be read"),
    "an empty folder": (lambda folder: folder, Options(), "no file of a supported type"),
    "no such path": (lambda folder: folder / "nothing.csv", Y, "no such file"),
    "an invalid file name": (
        lambda folder: folder / ("x" * 300),
        Y,
        "(not a valid path|no such)",
    ),
    # recordings
    "a truncated recording": (sound(cut=900), Options(), "a/x.wav: the recording is truncated"),
    "an unreadable recording": (sound(cut=3), Options(), "not a readable recording"),
    "a recording without samples": (
        sound(np.zeros(0)),
        Options(),
        "(has no samples|is truncated)",
    ),
    "a recording of one sample": (sound(np.zeros(1)), Options(), OK),
    "a recording longer than two hours": (
        sound(np.zeros(1000 * 7300), 1000, subtype="PCM_U8"),
        Options(),
        "2.0 hours long",
    ),
    "recordings of mixed rates": (sound(rate=44100), Options(), OK),
    "recordings of mixed channels": (sound(np.zeros((800, 2))), Options(), OK),
    "mixed channels with --channels all": (
        sound(np.zeros((800, 2))),
        Options(channels="all"),
        "2 channels, but|1 channels, but",
    ),
    "samples that are not finite": (
        sound(np.full(800, np.nan), subtype="FLOAT"),
        Options(),
        "second 0.000: a sample is not a finite number",
    ),
    "samples far beyond full scale": (
        sound(np.full(800, 1e20), subtype="FLOAT"),
        Options(),
        "scale the samples to the range -1 to 1",
    ),
    "a sampling rate of a few hertz": (
        sound(np.zeros(99), 10),
        Options(),
        "10 Hz; give a recording of 1,000",
    ),
    # options
    "an option that does not apply": (
        rows(),
        Options(label="y", horizon=3),
        "--horizon: does not apply",
    ),
    "too many steps": (
        rows(),
        Options(("y",), context=10**12),
        "give at most 1,000,000 steps",
    ),
    "a negative seed": (rows(), Options(("y",), seed=-1), "--seed: -1"),
    "more folds than rows": (rows(), Options(("y",), folds=10**6), "--folds: 1000000"),
    "a split that does not add up to 100": (
        rows(),
        Options(("y",), split="70/70/70"),
        "three percentages that add up to 100",
    ),
}


def outcome(name, folder):
    """Return the error message of a case without its folder, or "" if it is read."""
    make, options, _ = CASES[name]
    path = make(folder)
    try:
        open_problem(path, options)
    except InputError as error:
        return str(error).replace(f"{folder}/", "").replace(str(folder), "FOLDER")
    return ""


@pytest.fixture(autouse=True)
def no_store(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "store"))


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_line_that_names_the_place(name, tmp_path):
    if "sound" in CASES[name][0].__qualname__:
        pytest.importorskip("soundfile")
    message, expected = outcome(name, tmp_path), CASES[name][2]
    assert "\n" not in message
    if expected is OK:
        assert message == ""
    else:
        assert message, "it was read"
        assert re.search(expected, message), message


def test_the_table_in_the_documentation_is_of_these_cases():
    docs = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert len(CASES) >= 40
    listed = [line.split(" | ")[0].removeprefix("| ") for line in docs.splitlines()]
    assert [name for name in CASES if name not in listed] == []


if __name__ == "__main__":
    sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
    print("| input | error message |\n|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            message = outcome(case, Path(scratch)).replace("|", "\\|")
        short = message[:150] + (" ..." if len(message) > 150 else "")
        print(f"| {case} | {short or '(accepted)'} |")
