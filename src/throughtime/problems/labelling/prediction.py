"""Predictions of a saved sequence network for new sequences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from throughtime.data.audio.recordings import FRAME, feature_store, read_audio
from throughtime.data.sequences.archive import read_archive
from throughtime.data.sequences.collection import Read, as_learned, sequences_of
from throughtime.data.sequences.length_batches import answered
from throughtime.data.sequences.sequences import lengths_text
from throughtime.data.sources import DataSource
from throughtime.data.tables.labelled import read_labelled
from throughtime.data.text.documents import read_labelled_texts
from throughtime.data.text.vocabularies import check_codes
from throughtime.errors import InputError
from throughtime.problems.forecasting.prediction import Forecasts
from throughtime.problems.labelling.networks import SequenceNetwork
from throughtime.runs import Choice
from throughtime.specs import SequenceSpec


def answer(
    model: SequenceNetwork,
    spec: SequenceSpec,
    path: DataSource,
    *,
    missing: str | None = None,
    delimiter: str | None = None,
) -> Forecasts:
    """Predict an answer for every sequence of a file, or for each step, in file order.

    >>> model, spec = load(Path("model"))
    >>> answer(model, spec, Path("JapaneseVowels_TEST.ts")).rows.columns
    ['sequence', 'label', 'probability']

    The result has one row per sequence, identified by group, file or number; or one per step, with
    its time or row. A class comes with its probability. Labels in the file are ignored.

    Raises InputError if the file lacks a column of the training data, or has missing values and the
    training data had none.
    """
    read = as_learned(_read(spec, path, missing, delimiter), spec)
    sequences = sequences_of(read)
    with torch.no_grad():
        found = answered(
            model.answer, sequences, torch.arange(len(sequences)), model.config.every_step
        )
    columns = _identifiers(read, spec)
    bad = ~found.isfinite().all(dim=-1)
    if bad.any():
        name, identifier = next(iter(columns.items()))
        raise InputError(
            f"{path}, {name} {list(identifier)[int(bad.nonzero()[0])]}",
            "a prediction is not finite: the values are far outside those of the training data",
            "check the values",
        )
    if spec.classes:
        shares = found.double().softmax(dim=-1)
        best = shares.argmax(dim=-1)
        columns[_free(spec.label, columns)] = [spec.classes[k] for k in best.tolist()]
        columns[_free("probability", columns)] = shares.amax(dim=-1).numpy().round(6)
    else:
        for number in range(found.shape[-1]):
            name = spec.label if found.shape[-1] == 1 else f"{spec.label} {number + 1}"
            columns[_free(name, columns)] = found[:, number].numpy()
    choices = (
        *read.choices,
        Choice("lengths", lengths_text(sequences.lengths), f"{len(sequences)} sequences"),
    )
    count = f"{len(read.values)} steps, {len(sequences)} sequences"
    return Forecasts(pl.DataFrame(columns), count, choices)


def _read(spec: SequenceSpec, path: DataSource, missing: str | None, delimiter: str | None) -> Read:
    options = replace(spec.options, missing=missing or spec.options.missing, delimiter=delimiter)
    if spec.source == "task":
        raise InputError(
            str(path),
            "the model was trained on a generated task",
            "save sequences as .npz and fit a model on them",
        )
    if spec.source == "audio":
        if not isinstance(path, Path):
            raise InputError(
                str(path),
                "not a path to recordings",
                "give a recording, or a folder or table of recordings",
            )
        table = path.suffix.lower() in (".csv", ".parquet", ".arrow", ".tsv")
        options = replace(options, file=options.file or "file" if table else None)
        return read_audio(path, options, store=feature_store(), learned=spec)
    if spec.source == "text":
        check_codes(spec.tokens, len(spec.categories[0]))
    readers = {"table": read_labelled, "archive": read_archive, "text": read_labelled_texts}
    return readers[spec.source](path, options, learned=spec)


def _identifiers(read: Read, spec: SequenceSpec) -> dict[str, Any]:
    """Columns that identify the sequence of each answer, and its step, as in the file."""
    names = list(read.names) or [str(k + 1) for k in range(len(read.lengths))]
    first = spec.options.group or {"audio": "file", "text": "file"}.get(spec.source, "sequence")
    if spec.options.text:
        first = "row"  # row of the table with the texts
    if not spec.every_step:
        return {first: names}
    of = np.repeat(np.arange(len(names)), read.lengths)
    step = np.arange(len(of)) - np.repeat(np.cumsum(read.lengths) - read.lengths, read.lengths)
    columns: dict[str, Any] = {}
    if len(names) > 1 or spec.options.group:
        columns[first] = [names[k] for k in of.tolist()]
    if spec.source == "audio":
        columns["second"] = (step * FRAME).round(3)
    elif read.step_rows is not None:
        columns["row"] = read.step_rows
    else:
        columns["step"] = step + 1
    return columns


def _free(name: str, columns: dict[str, Any]) -> str:
    return name if name not in columns else f"predicted {name}"
