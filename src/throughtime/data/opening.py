"""The one door: a path and what was asked, to a problem."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from throughtime.data.audio.recordings import AudioSettings, feature_store, read_audio
from throughtime.data.folders import SOUNDS, TEXTS, kind_of_folder, known_files
from throughtime.data.sequences.archive import partners, read_archive
from throughtime.data.sequences.collection import Read, sequence_problem
from throughtime.data.sequences.generated_tasks import PREFIX, task_problem
from throughtime.data.sequences.sequences import SequenceProblem
from throughtime.data.sources import DataSource, InMemory, MemorySequences, MemoryTexts
from throughtime.data.tables.forecast_problem import Problem, read_problem
from throughtime.data.tables.labelled import LabelledColumns, read_labelled
from throughtime.data.tables.numbers import words_of
from throughtime.data.tables.parquet_folder import shard_problem
from throughtime.data.tables.reading import read_frame
from throughtime.data.tables.tables import Columns
from throughtime.data.tables.windows import Split
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


def kind_of(path: DataSource, asked: DataOptions) -> str:
    """What a path holds, in the words of `data_options`."""
    if isinstance(path, InMemory):
        return _kind_in_memory(path, asked)
    if str(path).startswith(PREFIX):
        return TASK
    ending = path.suffix.lower()
    if ending in ARCHIVES:
        return ARCHIVE
    if asked.file is not None or ending in SOUNDS:
        return RECORDINGS
    if asked.text is not None:
        return LABELLED_TEXT
    if path.is_dir():
        found = kind_of_folder(path)
        if found == "audio":
            return RECORDINGS
        if found == "text":
            return LABELLED_TEXT if asked.label is not None else TEXT
        if found == "parquet":
            return PARQUET_FOLDER
    elif ending in TEXTS:
        return TEXT
    return LABELLED_TABLE if asked.label is not None else FORECAST


def _kind_in_memory(data: InMemory, asked: DataOptions) -> str:
    if isinstance(data, MemorySequences):
        return ARCHIVE
    if isinstance(data, MemoryTexts):
        return TEXT
    if asked.text is not None:
        return LABELLED_TEXT
    return LABELLED_TABLE if asked.label is not None else FORECAST


def open_problem(
    path: DataSource, asked: DataOptions, watch: Callable[[int, int], None] | None = None
) -> AnyProblem:
    """What a path holds, as a problem to learn.

    >>> open_problem(Path("task:adding"), DataOptions(length=200)).record.windows
    (8000, 1000, 2000)

    ``watch`` is told how many of how many recordings are done. Raises InputError for what cannot be
    learned from, naming the place, and for an option that does not apply to such data.
    """
    found = _opened(path, asked, watch)
    return replace(found, record=replace(found.record, options=asked.as_text()))


def _opened(
    path: DataSource, asked: DataOptions, watch: Callable[[int, int], None] | None
) -> AnyProblem:
    try:
        kind = kind_of(path, asked)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(repr(str(path))[:80], "no path that can be read", "check it") from None
    _refuse_strange(kind, asked)
    split, seed, context = Split.read(asked.split), asked.seed, asked.context
    for name in ("context", "length", "horizon", "season"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise InputError(f"--{name}", str(value), "give a whole number of steps, 1 or more")
        if value is not None and value > MOST_STEPS:
            raise InputError(f"--{name}", str(value), f"{MOST_STEPS:,} steps are the most")
    if not 0 <= seed < 2**63:
        raise InputError("--seed", str(seed), "give a number from 0 on, below 2 to the 63")
    if kind == TASK:
        name = str(path).removeprefix(PREFIX)
        return task_problem(name, asked.length or 100, seed=seed, context=context)
    if kind == TEXT:
        return text_problem(path, tokens=asked.tokens, split=split, seed=seed, context=context)
    if kind == PARQUET_FOLDER:
        assert isinstance(path, Path)
        return shard_problem(
            path,
            Columns(asked.target, inputs=asked.inputs),
            horizon=asked.horizon,
            context=context,
            split=split,
            watch=watch,
        )
    if kind == FORECAST:
        return read_problem(
            path,
            Columns(
                asked.target,
                asked.time,
                asked.group,
                asked.inputs,
                known=asked.known,
                calendar=asked.calendar,
                categorical=asked.categorical,
                resample=asked.resample,
                gaps=asked.gaps,
            ),
            static=asked.static,
            missing=asked.missing,
            delimiter=asked.delimiter,
            horizon=asked.horizon,
            context=context,
            season=asked.season,
            split=split,
            folds=asked.folds,
        )
    return sequence_problem(
        _read(kind, path, asked, watch),
        missing=asked.missing,
        answer=asked.answer,
        split=split,
        seed=seed,
        context=context,
    )


def _read(
    kind: str, path: DataSource, asked: DataOptions, watch: Callable[[int, int], None] | None
) -> Read:
    if kind == ARCHIVE:
        return read_archive(path)
    if kind == LABELLED_TEXT:
        if asked.label is None:
            raise InputError("--text", "no --label", "name the column of classes")
        return read_labelled_texts(
            path,
            label=asked.label,
            text=asked.text,
            part=asked.part,
            tokens=asked.tokens,
            delimiter=asked.delimiter,
        )
    if kind == RECORDINGS:
        if asked.file is not None and asked.label is None:
            raise InputError("--file", "no --label", "name the column of labels")
        assert isinstance(path, Path)
        return read_audio(
            path,
            audio_settings(asked.features, asked.rate, asked.bands, asked.channels),
            label=asked.label or "folder",
            file=asked.file,
            part=asked.part,
            delimiter=asked.delimiter,
            store=feature_store(),
            watch=watch,
        )
    columns = LabelledColumns(
        asked.label or "", asked.group, asked.time, asked.inputs, asked.categorical, asked.part
    )
    return read_labelled(path, columns, delimiter=asked.delimiter, static=asked.static)


def files_of(path: Path, asked: DataOptions) -> list[Path]:
    """Every file that opening such data reads: none of them may become an output.

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
    elif asked.file is not None and path.is_file():
        frame, source = read_frame(path, asked.delimiter, labels=(asked.file,))
        if asked.file in frame.columns:
            names = words_of(frame[asked.file], source).drop_nulls().unique().to_list()
            found += [path.parent / name for name in names]
    tokens = [Path(asked.tokens)] if asked.tokens.endswith(".json") else []
    options = [value for value in vars(asked).values() if isinstance(value, Path)]
    return [*found, *options, *tokens]


def audio_settings(features: str, rate: int, bands: int, channels: str) -> AudioSettings:
    """How sound becomes features. Raises InputError for what cannot be."""
    try:
        return AudioSettings(features, rate, bands, channels)
    except ValueError as error:
        raise InputError(
            "--features, --rate, --bands or --channels", str(error), "see --help"
        ) from None


def _refuse_strange(kind: str, asked: DataOptions) -> None:
    """Raise InputError for an option that such data has no use for."""
    for field in fields(asked):
        if field.name in asked.given() and kind not in field.metadata["kinds"]:
            takes = ", ".join(f"--{name}" for name in options_of(kind))
            raise InputError(
                f"--{field.name}", f"does not apply to {kind}", f"leave it out; it takes {takes}"
            )
