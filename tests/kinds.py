"""Small data of every kind that the command line takes, each with the options that it needs."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

TABLE = ("--target", "y", "--time", "t", "--horizon", "2", "--context", "5", "--season", "1")
SMALL = ("--parameters", "60", "--epochs", "1")


class Kind(NamedTuple):
    """How to make data of a kind below a folder, and what commands are told of it."""

    make: Callable[[Path], Path]
    options: tuple[str, ...] = ()
    needs: str = ""  # a package that may be absent


def frame(rows: int = 80) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "t": list(range(rows)),
            "y": [round(math.sin(0.4 * k) + 0.1 * (k % 3), 4) for k in range(rows)],
            "x": [float(k % 5) for k in range(rows)],
        }
    )


def csv(folder: Path) -> Path:
    frame().write_csv(folder / "a.csv")
    return folder / "a.csv"


def packed(folder: Path) -> Path:
    (folder / "a.csv.gz").write_bytes(gzip.compress(frame().write_csv().encode()))
    return folder / "a.csv.gz"


def parquet(folder: Path) -> Path:
    frame().write_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def arrow(folder: Path) -> Path:
    frame().write_ipc(folder / "a.arrow")
    return folder / "a.arrow"


def shards(folder: Path) -> Path:
    (folder / "shards").mkdir()
    for number in range(2):
        frame(200).drop("t").write_parquet(folder / "shards" / f"{number}.parquet")
    return folder / "shards"


def labelled(folder: Path) -> Path:
    rows = [f"g{k},{j},{(k * 7 + j) % 5},{'ab'[k % 2]}" for k in range(40) for j in range(4)]
    (folder / "l.csv").write_text("g,t,x,label\n" + "\n".join(rows) + "\n")
    return folder / "l.csv"


def archive(folder: Path) -> Path:
    for part in ("TRAIN", "TEST"):
        lines = [f"{k % 3},{k % 2},1:{k % 2}" for k in range(40)]
        head = "@univariate true\n@classLabel true 0 1\n@data\n"
        (folder / f"s_{part}.ts").write_text(head + "\n".join(lines) + "\n")
    return folder / "s_TRAIN.ts"


def arrays(folder: Path) -> Path:
    x = np.sin(np.arange(40 * 6)).reshape(40, 6, 1)
    np.savez(folder / "a.npz", x=x, y=np.arange(40) % 2)
    return folder / "a.npz"


def text(folder: Path) -> Path:
    (folder / "a.txt").write_text("abc def\n" * 250)
    return folder / "a.txt"


def texts(folder: Path) -> Path:
    (folder / "texts").mkdir()
    for k in range(12):
        (folder / "texts" / f"{k}.txt").write_text("abc def\n" * 30)
    return folder / "texts"


def classed_texts(folder: Path) -> Path:
    for k in range(20):
        path = folder / "classed" / "ab"[k % 2] / f"{k}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("abba " * (3 + k % 2))
    return folder / "classed"


def recordings(folder: Path) -> Path:
    import soundfile

    for k in range(20):
        path = folder / "sounds" / "ab"[k % 2] / f"{k}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.sin(np.arange(900) * (0.1 + 0.3 * (k % 2))), 8000)
    return folder / "sounds"


def listed_recordings(folder: Path) -> Path:
    files = sorted(recordings(folder).rglob("*.wav"))
    rows = [f"{file.relative_to(folder)},{file.parent.name}" for file in files]
    (folder / "list.csv").write_text("file,word\n" + "\n".join(rows) + "\n")
    return folder / "list.csv"


KINDS = {
    "csv": Kind(csv, TABLE),
    "gzip": Kind(packed, TABLE),
    "parquet": Kind(parquet, TABLE),
    "arrow": Kind(arrow, TABLE),
    "shards": Kind(shards, ("--target", "y", "--horizon", "2", "--context", "5")),
    "labelled": Kind(labelled, ("--label", "label", "--group", "g", "--time", "t")),
    "ts": Kind(archive),
    "npz": Kind(arrays),
    "text": Kind(text, ("--context", "8")),
    "texts": Kind(texts, ("--context", "8")),
    "classed texts": Kind(classed_texts, ("--label", "folder")),
    "recordings": Kind(recordings, (), "soundfile"),
    "listed recordings": Kind(
        listed_recordings, ("--file", "file", "--label", "word"), "soundfile"
    ),
    "task": Kind(lambda folder: Path("task:echo"), ("--length", "3")),
}
