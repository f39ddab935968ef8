"""Read text documents, for language modelling or for classification."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from throughtime.bounded_reads import read_given
from throughtime.data.folders import TEXTS, files_in, fingerprint_of, read_files
from throughtime.data.sequences.collection import Read
from throughtime.data.sources import DataSource, MemoryTexts
from throughtime.data.split import Split
from throughtime.data.tables.numbers import words_of
from throughtime.data.tables.reading import listed, read_frame
from throughtime.data.text.vocabularies import Alphabet
from throughtime.data_options import DataOptions
from throughtime.errors import InputError, nearest
from throughtime.escapes import printable
from throughtime.runs import Choice, DataRecord
from throughtime.specs import SequenceSpec, TokenSpec

_FEW = 10  # fewer documents are each split in three; otherwise whole documents are assigned
_PIECE = 64  # default steps of truncated backpropagation
_LEAST = 200  # fewest tokens in each part


@dataclass(frozen=True)
class Document:
    """A named text."""

    name: str
    text: str


@dataclass(frozen=True)
class TextProblem:
    """Documents, each as codes [T], for next-token prediction."""

    training: list[np.ndarray]
    validation: list[np.ndarray]
    test: list[np.ndarray]
    test_characters: int  # divisor for bits per character
    context: int  # steps of truncated backpropagation, and steps that window-dense sees
    spec: TokenSpec
    record: DataRecord


def read_documents(path: DataSource) -> tuple[list[Document], str, tuple[Choice, ...]]:
    """Read a file, or all texts below a folder, and compute a fingerprint.

    Raises InputError for a line that is not UTF-8, and if all documents are empty.
    """
    if isinstance(path, MemoryTexts):
        return _filled([Document(str(n), t) for n, t in enumerate(path.texts, 1)], str(path))
    if not isinstance(path, Path):
        raise InputError(str(path), "not a text", "give a list of texts, or a file")
    whole = path.is_dir()
    files = files_in(path, TEXTS) if whole else [path]
    contents = read_files(files) if whole else [read_given(path)]
    documents = [
        Document(printable(file.relative_to(path) if whole else file.name), _decoded(raw, file))
        for file, raw in zip(files, contents, strict=True)
    ]
    return _filled(documents, str(path), contents)


def _filled(
    documents: Sequence[Document], where: str, contents: Sequence[bytes] | None = None
) -> tuple[list[Document], str, tuple[Choice, ...]]:
    """Return the documents that are not empty, and a fingerprint of all documents."""
    contents = contents or [d.text.encode("utf-8", "surrogatepass") for d in documents]
    filled = [d for d in documents if d.text.strip()]
    if not filled:
        raise InputError(where, "there is no text in it", "give text to train on")
    choices: tuple[Choice, ...] = ()
    if len(filled) < len(documents):
        empty = [d.name for d in documents if not d.text.strip()]
        choices = (Choice("left out", listed(empty), "empty documents"),)
    mark = fingerprint_of([(d.name, c) for d, c in zip(documents, contents, strict=True)])
    return filled, mark, choices


def _decoded(raw: bytes, file: Path) -> str:
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file}, line {line}",
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            "save the file as UTF-8 (for example: iconv -f latin1 -t utf-8)",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"{file}, line {line}", "a zero byte, so it is not text", "give a text file"
        )
    return text.replace("\r\n", "\n")


def text_problem(path: DataSource, options: DataOptions) -> TextProblem:
    """Read documents as a next-token prediction problem.

    >>> problem = text_problem(Path("shakespeare.txt"), DataOptions())

    The vocabulary is that of the training part. Fewer than ten documents are each split in three;
    otherwise whole documents are assigned to the parts at random, using the seed. Raises InputError
    for text that is too short or invalid, see `read_documents`.
    """
    documents, mark, choices = read_documents(path)
    split = Split.read(options.split)
    parts, reason = _split(documents, split, options.seed)
    alphabet = Alphabet.learned(options, parts[0])
    codes = [alphabet.encode_all(part) for part in parts]
    codes = [[c for c in part if len(c) > 1] for part in codes]
    for part, name in zip(codes, ("training", "validation", "test"), strict=True):
        count = sum(map(len, part))
        if count < _LEAST:
            raise InputError(
                str(path),
                f"{count} {alphabet.unit} for {name} are too few (at least {_LEAST} are needed)",
                "give more text, or set --split",
            )
    sizes = [sum(map(len, part)) for part in codes]
    unknown = 0
    if alphabet.unit in ("characters", "words"):
        unknown = sum(int((c == 0).sum()) for part in codes[1:] for c in part)
    context = options.context or _PIECE
    found = [
        *choices,
        Choice("tokens", alphabet.unit, f"{alphabet.size} different ones", "--tokens"),
        Choice("split", str(split), reason, "--split, --seed"),
        Choice("context", str(context), "steps of truncated backpropagation", "--context"),
    ]
    if unknown:
        found.append(
            Choice("unknown", f"{unknown} tokens", "in validation and test are not in training")
        )
    record = DataRecord(
        path=printable(path),
        fingerprint=mark,
        rows=sum(len(d.text) for d in documents),
        targets=("next token",),
        inputs=(alphabet.unit,),
        time=None,
        group=None,
        series=len(documents),
        step="token",
        context=context,
        horizon=1,
        season=1,
        windows=(sizes[0], sizes[1], sizes[2]),
        borders=("", ""),
        choices=tuple(found),
        kind="tokens",
    )
    return TextProblem(
        *codes,
        test_characters=sum(map(len, parts[2])),
        context=context,
        spec=alphabet.spec,
        record=record,
    )


def _split(documents: Sequence[Document], split: Split, seed: int) -> tuple[list[list[str]], str]:
    """Return the texts of the three parts, and the reason for the record."""
    shares = np.cumsum([split.training, split.validation])
    if len(documents) < _FEW:
        parts: list[list[str]] = [[], [], []]
        for document in documents:
            edges = [0, *np.rint(shares * len(document.text)).astype(int).tolist(), None]
            for part, begin, end in zip(parts, edges, edges[1:], strict=False):
                part.append(document.text[begin:end])
        return parts, "% of each document: training, then validation, then test"
    order = np.random.default_rng(seed).permutation(len(documents))
    sizes = np.array([len(documents[k].text) for k in order])
    middle = np.cumsum(sizes) - sizes / 2
    which = np.searchsorted(shares * sizes.sum(), middle)
    parts = [[documents[k].text for k in order[which == part]] for part in range(3)]
    return parts, f"% of the characters: whole documents, drawn with seed {seed}"


def read_labelled_texts(
    path: DataSource, options: DataOptions, *, learned: SequenceSpec | None = None
) -> Read:
    """Read labelled texts from a folder with one subfolder per class, or from a table.

    >>> read = read_labelled_texts(Path("mails"), DataOptions(label="folder"))
    >>> read = read_labelled_texts(Path("mails.csv"), DataOptions(label="class", text="body"))

    ``learned``: what a trained model knows; the label may then be absent.
    """
    label, text, part = options.label or "", options.text, options.part
    choices: tuple[Choice, ...] = ()
    parts: np.ndarray | None = None
    words: list[str | None] | None
    if text is None:
        documents, mark, choices = read_documents(path)
        words = [Path(d.name).parts[0] if len(Path(d.name).parts) > 1 else None for d in documents]
        if None in words and learned is None:
            lone = documents[words.index(None)].name
            raise InputError(
                f"{path}/{lone}",
                "not in a folder named after a class",
                "move each text into the folder of its class",
            )
        rows = [(f"{path}/{d.name}", 1) for d in documents]
    else:
        frame, source = read_frame(path, options.delimiter, labels=(label, text, part))
        wanted = [text, *([label] if learned is None else []), *([part] if part else [])]
        for name in wanted:
            if name not in frame.columns:
                raise InputError(str(path), f"no column {name!r}", nearest(name, frame.columns))
        whole = frame.with_row_index("", offset=source.first_row)
        frame = whole.drop_nulls(text)
        lost = [str(row) for row in whole.filter(pl.col(text).is_null())[""].to_list()]
        if lost:
            choices = (Choice("left out", f"row {listed(lost)}", f"no text in column {text!r}"),)
        if frame.is_empty():
            raise InputError(
                f"{path}, column {text!r}", "there is no text in it", "give another column"
            )
        mark = source.fingerprint
        at = frame[""].to_list()
        bodies = words_of(frame[text], source).to_list()
        documents = [Document(str(row), body) for row, body in zip(at, bodies, strict=True)]
        words = None
        if label in frame.columns:
            words = words_of(frame[label], source).to_list()
        if part:
            parts = words_of(frame[part], source).fill_null("").to_numpy().astype(str)
            strange = ~np.isin(parts, ("train", "validation", "test"))
            if strange.any():
                row = at[int(strange.argmax())]
                raise InputError(
                    f"{path}, row {row}, column {part!r}",
                    f"part {str(parts[strange.argmax()])!r}",
                    "write train, validation or test",
                )
        rows = [(printable(path), row) for row in at]
    if learned is None:
        alphabet = Alphabet.learned(options, (d.text for d in documents))
    else:
        alphabet = Alphabet(learned.tokens)
    codes = alphabet.encode_all(d.text for d in documents)
    codes = [c if len(c) else np.zeros(1, dtype=np.int32) for c in codes]
    flat = np.concatenate(codes)
    return Read(
        values=np.empty((len(flat), 0)),
        lengths=np.array([len(c) for c in codes]),
        columns=(),
        words=words,
        numbers=None,
        every_step=False,
        part=parts,
        where=printable(path),
        fingerprint=mark,
        rows=rows,
        names=[d.name for d in documents],
        codes=flat[:, None],
        code_columns=(alphabet.unit,),
        categories=(vocabulary_of(alphabet),),
        options=replace(options, tokens=alphabet.unit),
        source="text",
        tokenizer=alphabet.spec.tokenizer,
        choices=(
            *choices,
            Choice("tokens", alphabet.unit, f"{alphabet.size} different ones", "--tokens"),
        ),
    )


def vocabulary_of(alphabet: Alphabet) -> tuple[str, ...]:
    """Return a name for each code."""
    if alphabet.spec.vocabulary:
        return alphabet.spec.vocabulary
    return tuple(str(code) for code in range(alphabet.size))
