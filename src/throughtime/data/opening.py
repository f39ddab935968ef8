"""Open any supported data as a training problem."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from throughtime.data.audio.recordings import feature_store, read_audio
from throughtime.data.folders import SOUNDS, TEXTS, kind_of_folder, known_files
from throughtime.data.sequences.archive import partners, read_archive
from throughtime.data.sequences.collection import Read, sequence_problem
from throughtime.data.sequences.generated_tasks import PREFIX, task_problem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.sources import DataSource, InMemory, MemorySequences, MemoryTexts
from throughtime.data.split import Split
from throughtime.data.tables.forecast_problem import Problem, read_problem
from throughtime.data.tables.labelled import read_labelled
from throughtime.data.tables.numbers import words_of
from throughtime.data.tables.parquet_folder import shard_problem
from throughtime.data.tables.reading import read_frame
from throughtime.data.text.documents import TextProblem, read_labelled_texts, text_problem
from throughtime.data_options import (
    ARCHIVE,
    FORECAST,
    LABELLED_TABLE,
    LABELLED_TEXT,
    PARQUET_FOLDER,
    RECORDINGS,
    TASK,
    TEXT,
    DataOptions,
    options_of,
)
from throughtime.errors import InputError
from throughtime.specs import MOST_STEPS

ARCHIVES = (".ts", ".npz")
AnyProblem = Problem | SequenceProblem | TextProblem


def kind_of(path: DataSource, options: DataOptions) -> str:
    """Return the kind of the data, one of the constants of `data_options`."""
    if isinstance(path, InMemory):
        return _kind_in_memory(path, options)
    if str(path).startswith(PREFIX):
        return TASK
    ending = path.suffix.lower()
    if ending in ARCHIVES:
        return ARCHIVE
    if options.file is not None or ending in SOUNDS:
        return RECORDINGS
    if options.text is not None:
        return LABELLED_TEXT
    if path.is_dir():
        found = kind_of_folder(path)
        if found == "audio":
            return RECORDINGS
        if found == "text":
            return LABELLED_TEXT if options.label is not None else TEXT
        if found == "parquet":
            return PARQUET_FOLDER
    elif ending in TEXTS:
        return TEXT
    return LABELLED_TABLE if options.label is not None else FORECAST


def _kind_in_memory(data: InMemory, options: DataOptions) -> str:
    if isinstance(data, MemorySequences):
        return ARCHIVE
    if isinstance(data, MemoryTexts):
        return TEXT
    if options.text is not None:
        return LABELLED_TEXT
    return LABELLED_TABLE if options.label is not None else FORECAST


def open_problem(
    path: DataSource, options: DataOptions, watch: Callable[[int, int], None] | None = None
) -> AnyProblem:
    """Open data as a training problem.

    >>> open_problem(Path("task:adding"), DataOptions(length=200)).record.windows
    (8000, 1000, 2000)

    ``watch``: progress callback, called with the number of recordings done and the total. Raises
    InputError that names the place in data that cannot be used, and for an option that does not
    apply to this kind of data.
    """
    found = _opened(path, options, watch)
    return replace(found, record=replace(found.record, options=options.as_text()))


def _opened(
    path: DataSource, options: DataOptions, watch: Callable[[int, int], None] | None
) -> AnyProblem:
    try:
        kind = kind_of(path, options)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(repr(str(path))[:80], "not a valid path", "check the path") from None
    _check_options(kind, options)
    Split.read(options.split)  # refused before anything is read
    for name in ("context", "length", "horizon", "season"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name}", str(value), "give a whole number of steps, 1 or more")
        if value is not None and value > MOST_STEPS:
            raise InputError(f"--{name}", str(value), f"give at most {MOST_STEPS:,} steps")
    if not 0 <= options.seed < 2**63:
        raise InputError("--seed", str(options.seed), "give a whole number from 0 to 2**63 - 1")
    if kind == TASK:
        return task_problem(str(path).removeprefix(PREFIX), options)
    if kind == TEXT:
        return text_problem(path, options)
    if kind == PARQUET_FOLDER:
        assert isinstance(path, Path)
        return shard_problem(path, options, watch=watch)
    if kind == FORECAST:
        return read_problem(path, options)
    return sequence_problem(_read(kind, path, options, watch))


def _read(
    kind: str, path: DataSource, options: DataOptions, watch: Callable[[int, int], None] | None
) -> Read:
    if kind == RECORDINGS:
        if options.file is not None and options.label is None:
            raise InputError(
                "--file", "it requires --label", "give the column of labels with --label"
            )
        assert isinstance(path, Path)
        return read_audio(path, options, store=feature_store(), watch=watch)
    if kind == LABELLED_TEXT and options.label is None:
        raise InputError("--text", "it requires --label", "give the column of classes with --label")
    readers = {
        ARCHIVE: read_archive,
        LABELLED_TEXT: read_labelled_texts,
        LABELLED_TABLE: read_labelled,
    }
    return readers[kind](path, options)


def files_of(path: Path, options: DataOptions) -> list[Path]:
    """List every file that is read when the data are opened; none may be overwritten.

    >>> files_of(Path("JapaneseVowels_TRAIN.ts"), DataOptions())
    [PosixPath('JapaneseVowels_TRAIN.ts'), PosixPath('JapaneseVowels_TEST.ts')]
    """
    if str(path).startswith(PREFIX):
        return []
    found = [path]
    if path.is_dir():
        found += known_files(path)
    elif path.suffix.lower() == ".ts":
        found += partners(path)
    elif options.file is not None and path.is_file():
        frame, source = read_frame(path, options.delimiter, labels=(options.file,))
        if options.file in frame.columns:
            names = words_of(frame[options.file], source).drop_nulls().unique().to_list()
            found += [path.parent / name for name in names]
    tokens = [Path(options.tokens)] if options.tokens.endswith(".json") else []
    paths = [value for value in vars(options).values() if isinstance(value, Path)]
    return [*found, *paths, *tokens]


def _check_options(kind: str, options: DataOptions) -> None:
    """Raise InputError for an option that does not apply to the kind of data."""
    for field in fields(options):
        if field.name in options.given() and kind not in field.metadata["kinds"]:
            takes = ", ".join(f"--{name}" for name in options_of(kind))
            raise InputError(
                f"--{field.name}",
                f"does not apply to {kind}",
                f"remove it; the options are {takes}",
            )
