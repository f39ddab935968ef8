"""Features of audio recordings (log-mel spectra or MFCC), computed once and cached."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.bounded_reads import read_given, read_regular
from throughtime.cores import usable_cores
from throughtime.data.audio.feature_library import load_librosa
from throughtime.data.folders import SOUNDS, files_in
from throughtime.data.sequences.collection import Read
from throughtime.data.tables.numbers import numbers_of, words_of
from throughtime.data.tables.reading import Source, read_frame
from throughtime.data_options import RECORDINGS, DataOptions
from throughtime.errors import InputError, nearest
from throughtime.escapes import printable
from throughtime.files import cache_home, write_whole
from throughtime.runs import Choice
from throughtime.specs import SequenceSpec

FEATURES = ("logmel", "mfcc")
FRAME = 0.01  # seconds between the starts of two frames
_Stretches = list[tuple[float, float, str]]  # start and end in seconds, and the label
_FORMAT = 1  # of the cache; increase it when the features change
_LONGEST = 2 * 3600  # seconds in a recording
_LEAST_RATE = 1000  # Hz
_MOST_SAMPLES = 600_000_000  # of all channels, before or after resampling
_LOUDEST = 1e6  # largest floating-point sample; full scale is 1
_FLOOR = 1e-6  # power that counts as silence, for a signal within -1 to 1


def check_features(options: DataOptions) -> None:
    """Raise InputError for invalid options of features.

    Frames are of 25 ms every 10 ms, as usual for speech (MFCC: Davis and Mermelstein 1980).
    """
    features, rate, bands = options.features, options.rate, options.bands
    mel, found = max(40, bands) if features == "mfcc" else bands, ""
    if features not in FEATURES:
        found = f"features must be {' or '.join(FEATURES)}; got {features!r}"
    elif options.channels not in ("mean", "all"):
        found = f"channels must be mean or all; got {options.channels!r}"
    elif not 1000 <= rate <= 192_000:
        found = f"rate must be from 1,000 to 192,000 Hz; got {rate}"
    elif not 1 <= bands <= 128:
        found = f"bands must be from 1 to 128; got {bands}"
    elif mel > rate // 40:
        found = f"a rate of {rate} Hz allows at most {rate // 40} mel bands; got {mel}"
    if found:
        raise InputError("--features, --rate, --bands or --channels", found, "see --help")


def read_recording(path: Path, raw: bytes, options: DataOptions) -> np.ndarray:
    """Return the samples [channels,N] of a WAV, FLAC, OGG or MP3 file at the rate of the options.

    Raises InputError for a file that is truncated, damaged, empty or too long.
    """
    where = str(path)
    try:
        import soundfile
        import soxr
    except ImportError:
        raise InputError(
            where, "soundfile or soxr is not installed", "pip install 'throughtime[audio]'"
        ) from None
    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            declared = file.frames
            if file.samplerate < _LEAST_RATE:
                raise InputError(
                    where,
                    f"the sampling rate is {file.samplerate} Hz",
                    "give a recording of 1,000 Hz or more",
                )
            seconds = file.frames / file.samplerate
            size = seconds * max(file.samplerate, options.rate) * file.channels
            if seconds > _LONGEST or size > _MOST_SAMPLES:
                raise InputError(
                    where,
                    f"it is {seconds / 3600:.1f} hours long (channels: {file.channels})",
                    "split it into files of one hour",
                )
            samples = file.read(dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            where,
            f"not a readable recording ({getattr(error, 'error_string', error)})"[:120],
            "get a complete copy of the file",
        ) from None
    if not len(samples):
        raise InputError(
            where, "the recording has no samples", "remove it, or get a complete copy of the file"
        )
    # libsndfile reads the rest of a truncated file; only the header has the full length
    if 0 < len(samples) < declared or _cut_wav(raw):
        raise InputError(where, "the recording is truncated", "get a complete copy of the file")
    if not np.isfinite(samples).all():
        second = float(np.argwhere(~np.isfinite(samples))[0][0]) / rate
        raise InputError(
            f"{where}, second {second:.3f}",
            "a sample is not a finite number",
            "correct or remove the recording",
        )
    if np.abs(samples).max() > _LOUDEST:
        raise InputError(
            where,
            f"the largest sample is {np.abs(samples).max():g}",
            "scale the samples to the range -1 to 1",
        )
    signal = samples.T
    if options.channels == "mean":
        signal = signal.mean(axis=0, keepdims=True)
    if rate != options.rate:
        signal = np.stack([soxr.resample(channel, rate, options.rate) for channel in signal])
    return signal


def _cut_wav(raw: bytes) -> bool:
    """Return whether a WAV file has less data than its header declares."""
    if raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        return False
    at = 12
    while at + 8 <= len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "little")
        if raw[at : at + 4] == b"data":
            return size not in (0, 0xFFFFFFFF) and at + 8 + size > len(raw)
        at += 8 + size + size % 2
    return True


def features_of(signal: np.ndarray, options: DataOptions) -> np.ndarray:
    """Compute features [T, channels * bands] of samples [channels,N], float32."""
    librosa = load_librosa()
    found: list[np.ndarray] = []
    window = options.rate // 40  # samples in 25 ms
    size = 1 << (window - 1).bit_length()
    for channel in signal:
        padded = np.pad(channel, (0, max(0, size - len(channel))))
        spectrum = librosa.feature.melspectrogram(
            y=padded,
            sr=options.rate,
            n_fft=size,
            win_length=window,
            hop_length=options.rate // 100,
            n_mels=max(40, options.bands) if options.features == "mfcc" else options.bands,
        )
        logarithm = np.log(np.maximum(spectrum, _FLOOR))
        if options.features == "mfcc":
            logarithm = librosa.feature.mfcc(S=logarithm, n_mfcc=options.bands)
        found.append(logarithm.T)
    return np.concatenate(found, axis=1).astype(np.float32)


def kept_features(
    path: Path, options: DataOptions, store: Path | None, *, inside: bool = True
) -> tuple[np.ndarray, str]:
    """Return the features of a file, from the cache in `store` if possible, and its SHA-256.

    The key of a cache entry is a hash of the file's content and the options. Changed files and
    damaged entries are computed again. A store that cannot be written to is not used.
    ``inside``: the file was found in a folder or in a table and must be a regular file.
    """
    raw = read_regular(path) if inside else read_given(path)
    content = hashlib.sha256(raw).hexdigest()
    entry = None
    if store is not None:
        own = [
            getattr(options, f.name)
            for f in fields(options)
            if f.metadata["kinds"] == (RECORDINGS,) and f.name != "file"
        ]
        mark = hashlib.sha256(f"{_FORMAT} {own} {content}".encode()).hexdigest()
        entry = store / f"{mark[:40]}.npy"
        kept = _kept(entry, options.bands)
        if kept is not None:
            return kept, content
    found = features_of(read_recording(path, raw, options), options)
    if entry is not None:
        buffer = io.BytesIO()
        np.save(buffer, found)
        with suppress(OSError):  # not writable or full: compute again next time
            write_whole(entry, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    return found, content


def _kept(entry: Path, bands: int) -> np.ndarray | None:
    try:
        whole = read_regular(entry)
    except InputError:
        return None
    if hashlib.sha256(whole[32:]).digest() != whole[:32]:
        return None
    try:
        found = np.load(io.BytesIO(whole[32:]), allow_pickle=False)
    except Exception:  # numpy raises many types; the entry is computed again
        return None
    fits = found.dtype == np.float32 and found.ndim == 2 and found.shape[0] > 0
    return found if fits and found.shape[1] > 0 and found.shape[1] % bands == 0 else None


def feature_store() -> Path | None:
    """Return the cache folder, which may be deleted at any time; None without a home folder."""
    home = cache_home()
    return home / "features" if home else None


def read_audio(
    path: Path,
    options: DataOptions,
    *,
    store: Path | None = None,
    watch: Callable[[int, int], None] | None = None,
    learned: SequenceSpec | None = None,
) -> Read:
    """Read labelled recordings from a folder with one subfolder per class, or from a table.

    >>> read = read_audio(Path("recordings"), DataOptions())
    >>> read = read_audio(Path("digits.csv"), DataOptions(label="digit", file="file"))

    The column `file` of the table has the paths of the recordings, relative to the table. With
    the columns `start` and `end` (in seconds) a file may have several rows, each with the label of
    that period, and every frame has a label. ``watch`` is called with the number of files done and
    the total. ``store`` is the cache folder for features. ``learned``: what a trained model knows;
    labels may then be absent.

    Raises InputError that names the file, and the row of the table.
    """
    check_features(options)
    options = replace(options, label=options.label or "folder")
    labelled = learned is None
    names, rows, words, parts, stretches, mark = (
        _table(path, options, labelled) if options.file is not None else _folder(path, labelled)
    )
    done = 0

    def one(name: Path) -> tuple[np.ndarray, str]:
        nonlocal done
        found = kept_features(name, options, store, inside=name != path)
        done += 1
        if watch is not None:
            watch(done, len(names))
        return found

    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        both = list(pool.map(one, names))
    blocks = [features for features, _ in both]
    widths = {block.shape[1] for block in blocks}
    if len(widths) > 1:
        odd = next(k for k, b in enumerate(blocks) if b.shape[1] != blocks[0].shape[1])
        raise InputError(
            str(names[odd]),
            f"{blocks[odd].shape[1] // options.bands} channels, but {names[0].name} has "
            f"{blocks[0].shape[1] // options.bands}",
            "set --channels mean",
        )
    lengths = np.array([len(block) for block in blocks])
    if stretches is not None:
        words = _frames(stretches, lengths)
    digest = hashlib.sha256("".join([mark, *(content for _, content in both)]).encode())
    bands = options.bands
    return Read(
        values=np.concatenate(blocks),
        lengths=lengths,
        columns=tuple(
            f"{options.features} {k % bands + 1}"
            + (f" of channel {k // bands + 1}" if blocks[0].shape[1] > bands else "")
            for k in range(blocks[0].shape[1])
        ),
        words=words,
        numbers=None,
        every_step=stretches is not None,
        part=parts,
        where=printable(path),
        fingerprint=digest.hexdigest(),
        rows=rows,
        names=[printable(name) for name in names],
        options=options,
        source="audio",
        choices=(
            Choice(
                "features",
                f"{options.features}, {options.bands} a frame",
                f"frames of 25 ms every 10 ms at {options.rate} Hz",
                "--features, --bands, --rate",
            ),
        ),
    )


# files, the row of each, classes, parts, labelled periods, the fingerprint of the table
_Found = tuple[
    list[Path],
    list[tuple[str, int]],
    list[str | None] | None,
    np.ndarray | None,
    list[_Stretches] | None,
    str,
]


def _folder(path: Path, labelled: bool) -> _Found:
    files = files_in(path, SOUNDS) if path.is_dir() else [path]
    words: list[str | None] = []
    for name in files:
        inside = name.relative_to(path).parts if path.is_dir() else ()
        if labelled and len(inside) < 2:
            raise InputError(
                str(name),
                "not in a folder named after a class",
                "move each recording into the folder of its class, or give a table and set --file",
            )
        words.append(printable(inside[0]) if len(inside) > 1 else None)
    return (
        files,
        [(printable(name), 1) for name in files],
        words if labelled else None,
        None,
        None,
        "",
    )


def _table(path: Path, options: DataOptions, labelled: bool) -> _Found:
    label, file, part = options.label or "", options.file or "", options.part
    frame, source = read_frame(path, options.delimiter, labels=(label, file, part))
    for name in (file, *([label] if labelled else []), *([part] if part else [])):
        if name not in frame.columns:
            raise InputError(source.path, f"no column {name!r}", nearest(name, frame.columns))
    given = words_of(frame[file], source).fill_null("").to_list()
    order = list(dict.fromkeys(given))
    first = {name: given.index(name) for name in order}
    for name in order:
        if not name or not _is_file(path.parent / name):
            raise InputError(
                f"{source.path}, row {source.row(first[name])}, column {file!r}",
                f"file {name!r} does not exist",
                f"write paths relative to {path.parent}",
            )
    words = words_of(frame[label], source).to_list() if labelled else None
    stretches = None
    if words is not None and {"start", "end"} <= set(frame.columns):
        stretches = _stretches(frame, source, given, order, words)
        words = None
    elif len(order) < len(given):
        twice = next(k for k, name in enumerate(given) if first[name] != k)
        raise InputError(
            f"{source.path}, row {source.row(twice)}, column {file!r}",
            f"file {given[twice]!r} is listed twice",
            "list each file once, or add the columns start and end, in seconds",
        )
    parts = None
    if part:
        listed_parts = words_of(frame[part], source).fill_null("").to_list()
        parts = np.array([listed_parts[first[name]] for name in order])
        strange = ~np.isin(parts, ("train", "validation", "test"))
        if strange.any():
            bad = order[int(strange.argmax())]
            raise InputError(
                f"{source.path}, row {source.row(first[bad])}, column {part!r}",
                f"part {str(parts[strange.argmax()])!r}",
                "write train, validation or test",
            )
    rows = [(source.path, source.row(first[name])) for name in order]
    return [path.parent / name for name in order], rows, words, parts, stretches, source.fingerprint


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


def _stretches(
    frame: pl.DataFrame,
    source: Source,
    given: Sequence[str],
    order: Sequence[str],
    words: Sequence[str | None],
) -> list[_Stretches]:
    """Return the labelled periods of each file."""
    begin, end = numbers_of(frame["start"], source), numbers_of(frame["end"], source)
    wrong = ~((begin < end) & (begin >= 0) & (end <= _LONGEST))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{source.path}, row {source.row(row)}, column 'end'",
            f"a period from {begin[row]:g} to {end[row]:g} seconds",
            "give start and end in seconds from 0, with start before end",
        )
    found: dict[str, _Stretches] = {name: [] for name in order}
    for name, first, last, word in zip(given, begin.tolist(), end.tolist(), words, strict=True):
        if word is not None:
            found[name].append((first, last, word))
    return [found[name] for name in order]


def _frames(stretches: Sequence[_Stretches], lengths: np.ndarray) -> list[str | None]:
    """Return the label of every frame of all files, or None for frames without a label."""
    found: list[str | None] = []
    for of_file, length in zip(stretches, lengths.tolist(), strict=True):
        frames: list[str | None] = [None] * length
        for begin, end, word in of_file:
            first, last = round(begin / FRAME), min(length, round(end / FRAME))
            frames[first:last] = [word] * max(0, last - first)
        found += frames
    return found
