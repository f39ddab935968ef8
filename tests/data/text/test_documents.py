"""Text: documents, alphabets, the three parts, and texts of classes."""

import numpy as np
import pytest

from throughtime.data.sequences.collection import sequence_problem
from throughtime.data.text.documents import read_documents, read_labelled_texts, text_problem
from throughtime.data.text.vocabularies import Alphabet
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.specs import TOKEN_UNITS

SAID = "Ein Hund, zwei Katzen; und 3 Mäuse?\n"


def write(path, text, name="x.txt"):
    path = path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of Hugging Face's library, trained here."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=alphabet, special_tokens=["?"]
    )
    made.train_from_iterator([SAID * 20], trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize("unit", TOKEN_UNITS)
def test_what_is_encoded_comes_back(unit, tokenizer):
    tokens = str(tokenizer) if unit == "tokenizer" else unit
    alphabet = Alphabet.learned(DataOptions(tokens=tokens), [SAID])
    assert alphabet.spec.options.tokens == unit
    codes = alphabet.encode(SAID)
    again = Alphabet(alphabet.spec)
    assert np.array_equal(again.encode(SAID), codes)
    assert codes.min() >= 0 and codes.max() < alphabet.size
    spoken = "Ein Hund , zwei Katzen ; und 3 Mäuse ?" if unit == "words" else SAID
    assert alphabet.decode(codes.tolist()) == spoken
    assert "".join(alphabet.pieces(iter(codes.tolist()))) == spoken
    assert all(alphabet.word(c) for c in codes.tolist())


def test_what_was_never_seen_is_code_0():
    for unit in ("characters", "words"):
        alphabet = Alphabet.learned(DataOptions(tokens=unit), ["a b c"])
        assert alphabet.encode("x")[0] == 0
        assert alphabet.decode([0]) == "\ufffd"
    alphabet = Alphabet.learned(DataOptions(tokens="words"), ["b b a"])
    assert alphabet.spec.vocabulary == ("\ufffd", "b", "a")


def test_an_alphabet_that_is_none_is_told(tmp_path):
    with pytest.raises(InputError, match="--tokens: unknown 'syllables'"):
        Alphabet.learned(DataOptions(tokens="syllables"), ["x"])
    bad = write(tmp_path, "{}", "tokenizer.json")
    with pytest.raises(InputError, match=r"tokenizer.json: not a Hugging Face tokenizer"):
        Alphabet.learned(DataOptions(tokens=str(bad)), ["x"])


def test_one_document_is_cut_in_order(tmp_path):
    text = "".join(chr(97 + k // 100 % 26) for k in range(2000))
    problem = text_problem(write(tmp_path, text), DataOptions())
    sizes = [sum(map(len, part)) for part in (problem.training, problem.validation, problem.test)]
    assert sizes == [1400, 300, 300] == list(problem.record.windows)
    alphabet = Alphabet(problem.spec)
    assert alphabet.decode(problem.training[0].tolist()) == text[:1400]
    # the letters after n come in the later parts alone, so nothing of them is known
    assert alphabet.size == 1 + 14
    assert any("unknown" in c.name for c in problem.record.choices)
    assert problem.test_characters == 300


def test_many_documents_are_shared_out_whole(tmp_path):
    for k in range(30):
        write(tmp_path, chr(97 + k % 26) * 100, f"docs/{k}.txt")
    problem = text_problem(tmp_path / "docs", DataOptions(seed=1))
    parts = (problem.training, problem.validation, problem.test)
    assert [len(part) for part in parts] == [21, 5, 4]
    assert all(len(document) == 100 for part in parts for document in part)
    other = text_problem(tmp_path / "docs", DataOptions(seed=2))
    assert problem.spec != other.spec


def test_a_mark_of_order_and_line_ends_are_no_text(tmp_path):
    (document,), _, _ = read_documents(write(tmp_path, b"\xef\xbb\xbfa\r\nb\n"))
    assert document.text == "a\nb\n"


BAD = {
    "latin 1": (b"gut\nsch\xf6n\n", r"line 2: byte 0xf6 is not UTF-8"),
    "utf-16": ("schön".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    "zero bytes": (b"a\nb\0c", "line 2: a zero byte"),
    "empty": (b"", "there is no text in it"),
    "blank": (b" \n\t\n", "there is no text in it"),
    "short": (b"abc", "are too few"),
}


@pytest.mark.parametrize(("raw", "told"), BAD.values(), ids=BAD.keys())
def test_bad_texts_get_one_line(tmp_path, raw, told):
    with pytest.raises(InputError, match=told):
        text_problem(write(tmp_path, raw), DataOptions())


def test_folders_are_classes(tmp_path):
    for k in range(20):
        write(tmp_path, "good " * (1 + k % 3), f"t/pos/{k}.txt")
        write(tmp_path, "bad " * (1 + k % 3), f"t/neg/{k}.txt")
    problem = sequence_problem(read_labelled_texts(tmp_path / "t", DataOptions(label="folder")))
    assert problem.answers.classes == ("neg", "pos")
    x, lengths, wanted = problem.batch(problem.training[:2])
    vocabulary = problem.spec.categories[0]
    for column in range(2):
        spoken = "".join(vocabulary[c] for c in x[: lengths[column], column, 0].tolist())
        assert ("good" in spoken) == bool(wanted[column])


def test_a_tables_columns_are_texts_and_classes(tmp_path):
    rows = "".join(f'"line {k}, said",{"ab"[k % 2]}\n' for k in range(30))
    path = write(tmp_path, "body,kind\n" + rows, "x.csv")
    read = read_labelled_texts(path, DataOptions(label="kind", text="body", tokens="words"))
    assert read.words[:3] == ["a", "b", "a"] and read.lengths.tolist() == [4] * 30


def test_texts_without_a_class_are_told(tmp_path):
    write(tmp_path, "x", "t/a/1.txt")
    write(tmp_path, "y", "t/2.txt")
    with pytest.raises(InputError, match=r"t/2.txt: not in a folder named after a class"):
        read_labelled_texts(tmp_path / "t", DataOptions(label="folder"))
    with pytest.raises(InputError, match="no column 'boddy'; did you mean 'body'"):
        table = write(tmp_path, "body,kind\nx,a\n", "x.csv")
        read_labelled_texts(table, DataOptions(label="kind", text="boddy"))


@pytest.mark.parametrize(
    ("vocabulary", "told"), [({}, "it has no token"), ({"a": 2 * 10**6}, "it has 2,000,001")]
)
def test_tokenizers_of_no_codes_and_of_far_too_many_are_refused(tmp_path, vocabulary, told):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel(vocabulary, unk_token="a")
    tokenizers.Tokenizer(model).save(str(tmp_path / "t.json"))
    with pytest.raises(InputError, match=told):
        Alphabet.learned(DataOptions(tokens=str(tmp_path / "t.json")), ["a"])


def test_bytes_that_are_no_text_are_bytes():
    """As they come from a command line."""
    alphabet = Alphabet.learned(DataOptions(tokens="bytes"), [])
    assert alphabet.encode("a\udcff").tolist() == [97, 255]


def test_rows_without_a_text_are_left_out_and_told(tmp_path):
    rows = [f'"{"good" if n % 2 else "bad"} day",{n % 2}' for n in range(40)]
    rows[3] = ",1"
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    read = read_labelled_texts(tmp_path / "t.csv", DataOptions(label="label", text="text"))
    assert len(read.lengths) == 39
    (told,) = [c for c in read.choices if c.name == "left out"]
    assert (told.value, told.reason) == ("row 5", "no text in column 'text'")
