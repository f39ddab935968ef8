"""Files to tables of text: what is read, and what each kind of bad file gets."""

import gzip
import os

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime.data.tables.reading import read_frame
from throughtime.errors import InputError

GOOD = "date,co2\n2000-01-01,1.5\n2000-01-08,\n2000-01-15, 2.5 \n"


def read(tmp_path, content, name="data.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_frame(path, **options)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_any_delimiter_line_end_gzip_and_byte_order_mark(tmp_path, delimiter, ending, packed, mark):
    content = mark + GOOD.replace(",", delimiter).replace("\n", ending).encode()
    frame, source = read(tmp_path, gzip.compress(content) if packed else content)
    assert frame.to_dict(as_series=False) == {
        "date": ["2000-01-01", "2000-01-08", "2000-01-15"],
        "co2": ["1.5", None, "2.5"],
    }
    assert source.first_row == 2
    assert any(choice.option == "--delimiter" for choice in source.choices)


def test_a_given_delimiter_is_taken(tmp_path):
    frame, _ = read(tmp_path, "a,b:c\n1,5:2\n", delimiter=":")
    assert frame.to_dict(as_series=False) == {"a,b": ["1,5"], "c": ["2"]}
    with pytest.raises(InputError, match="one character"):
        read(tmp_path, GOOD, delimiter="::")


@pytest.mark.parametrize("kind", ["Parquet", "Arrow", "Arrow stream"])
def test_parquet_and_arrow_are_known_by_content(tmp_path, kind):
    frame = pl.DataFrame({"y": [1.0, 2.0]})
    path = tmp_path / "data.bin"
    writers = {"Parquet": frame.write_parquet, "Arrow": frame.write_ipc}
    writers.get(kind, frame.write_ipc_stream)(path)
    read_back, source = read_frame(path)
    assert read_back.equals(frame)
    assert source.first_row == 1
    assert source.choices[0].value == kind
    path.write_bytes(path.read_bytes()[:-59])
    with pytest.raises(InputError, match="cannot be read"):
        read_frame(path)


def test_quotes_and_missing_words(tmp_path):
    frame, _ = read(tmp_path, 'a,"b,c"\n"x ""y""\nz",NaN\nn/a,.\n')
    assert frame.to_dict(as_series=False) == {"a": ['x "y"\nz', None], "b,c": [None, None]}


def test_words_that_mean_missing_are_names_in_a_column_of_labels(tmp_path):
    text = "g,y\nNA,1\nnone,NA\n,3\n"
    frame, _ = read(tmp_path, text, labels="g")
    assert frame.to_dict(as_series=False) == {"g": ["NA", "none", None], "y": ["1", None, "3"]}


def test_a_last_row_without_a_line_end_is_told(tmp_path):
    for text, row in (("a,b\n1,2\n3,4", 3), ("\n\na,b\n1,2\n3,4", 5), ('a,b\n1,2\n3,"4"', 3)):
        frame, source = read(tmp_path, text)
        assert frame["b"].to_list() == ["2", "4"]
        told = source.choices[-1]
        assert (told.name, told.value) == ("last row", f"row {row}, taken as complete")
        assert told.reason.startswith("it has no line end: if the file is truncated, its last val")
        _, source = read(tmp_path, text + "\n")
        assert all(choice.name != "last row" for choice in source.choices)


def test_names_that_pandas_counts_are_names(tmp_path):
    assert read(tmp_path, ",0,1\n1821,269,3\n")[0].columns == ["column_1", "0", "1"]


def test_rows_are_the_lines_of_the_file(tmp_path):
    _, source = read(tmp_path, "\n\n\na,b\n1,2\n")
    assert source.row(0) == 5


def test_a_delimiter_that_is_not_there_is_told(tmp_path):
    with pytest.raises(
        InputError, match=r"no delimiter ';' in the header 'date,co2'; set --del.*\(comma\?\)"
    ):
        read(tmp_path, GOOD, delimiter=";")
    assert read(tmp_path, "y\n1\n", delimiter=";")[0].columns == ["y"]


def test_a_delimiter_inside_quotes_is_none(tmp_path):
    frame, _ = read(tmp_path, '"a,b,c";d\n1;2\n')
    assert frame.columns == ["a,b,c", "d"]


def test_one_column_and_nameless_columns(tmp_path):
    frame, source = read(tmp_path, "y\n1\n2\n")
    assert frame["y"].to_list() == ["1", "2"]
    assert source.choices[0].value == "none"
    frame, _ = read(tmp_path, ",y\n0,1\n1,2\n")
    assert frame.columns == ["column_1", "y"]


BAD = {
    "empty": ("", "the file is empty"),
    "white space": (" \n \n", "the file is empty"),
    "header only": ("a,b\n", "the file has a header but no rows"),
    "cut in a row": ("a,b,c\n1,2,3\n4,5", r"row 3: the file is truncated .*2 of 3 fields"),
    "cut in a quote": ('a,b\n1,"x\n', r"row 2: a quoted field is not closed"),
    "short row": ("a,b,c\n1,2\n4,5,6\n", r"row 2: 2 fields, but the header has 3"),
    "long row": ("a,b\n1,2\n4,5,6\n", r"row 3: 3 fields, but the header has 2"),
    "long quoted row": ('a,b\n"1",2\n4,5,6\n', r"row 3: 3 fields, but the header has 2"),
    "latin-1": (b"a,b\n1,2\n3,\xe9\n", r"row 3, column 'b': byte 0xe9 is not UTF-8"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "not a text file in UTF-8"),
    "binary": (b"a\0\1\2", "not a text file in UTF-8"),
    "no header": (
        "1,2\n3,4\n",
        "row 1: '1' in the header is a value, not a column name; add a header row",
    ),
    "no header, dates": (
        "2000-01-01,5.3\n2000-01-02,5.4\n",
        "row 1: '2000-01-01' in the header is a value",
    ),
    "no header, months": (
        "2000-01;5.3\n2000-02;5.4\n",
        "row 1: '2000-01' in the header is a value",
    ),
    "no header, times": (
        "31.1.2000 9:00,a\n31.1.2000 10:00,b\n",
        "row 1: '31.1.2000 9:00' in the header is a value",
    ),
    "no header, quarters": ("2000 Q1,\n2000 Q2,3\n", "row 1: '2000 Q1' in the header is a value"),
    "no header, names": ("a,5.3\nb,5.4\n", "row 1: '5.3' in the header is a value"),
    "header of years": (
        "country,2019,2020\na,5,6\n",
        "'2019' .* or rename the column to begin with a letter",
    ),
    "no header, counted": ("0,1\n1,2\n", "row 1: '0' in the header is a value"),
    "double name": ("a,a\n3,4\n", "row 1: column name 'a' appears twice"),
    "empty gzip": (gzip.compress(b""), "the file is empty"),
    "gzip of white space": (gzip.compress(b"\n \n"), "the file is empty"),
    "byte order mark alone": (b"\xef\xbb\xbf", "the file is empty"),
    "byte order mark and a line": (b"\xef\xbb\xbf\n", "the file is empty"),
    "cut before a field": (
        "a,b\n1,2\n3,",
        "row 3, column 'b': the file ends with an empty field and no line end, so it may",
    ),
    "cut gzip before a field": (gzip.compress(b"a,b\n1,2\n3,"), "row 3, column 'b': the file ends"),
    "cut before a field, quotes": ('a,b\n1,"2"\n3,', "row 3, column 'b': the file ends with"),
    "cut in a row below blank lines": (
        "\n\na,b,c\n1,2,3\n4,5",
        "row 5: the file is truncated in its",
    ),
    "short row below blank lines": ("\n\na,b\n1\n4,5\n", "row 4: 1 fields, but the header has 2"),
    "latin-1 below blank lines": (b"\n\na,b\n1,2\n3,\xe9\n", "row 5, column 'b': byte 0xe9"),
    "no header below blank lines": ("\n\n1,2\n", "row 3: '1' in the header is a value"),
    "quote below blank lines": ('\n\na,b\n1,"x\n', "row 4: a quoted field is not closed"),
    "cut gzip": (gzip.compress(GOOD.encode())[:-12], "truncated or damaged gzip"),
    "damaged gzip": (b"\x1f\x8b" + b"x" * 40, "truncated or damaged gzip"),
}


@pytest.mark.parametrize(("content", "text"), BAD.values(), ids=BAD.keys())
def test_bad_files_get_one_line_that_names_the_place(tmp_path, content, text):
    with pytest.raises(InputError, match=text) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "data.csv"))
    assert "\n" not in message


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "data.csv").write_text(GOOD)
    with pytest.raises(InputError, match=r"dta\.csv: no such file; did you mean 'data\.csv'\?"):
        read_frame(tmp_path / "dta.csv")
    with pytest.raises(InputError, match="this is a folder"):
        read_frame(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_frame(tmp_path / "nowhere" / "data.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(GOOD)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_frame(path)


@given(content=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "data.csv"
    path.write_bytes(content)
    try:
        frame, _ = read_frame(path)
    except InputError:
        return
    assert len(frame.columns)


@given(
    rows=st.lists(
        st.lists(st.text(alphabet='ab1.,;"\n\r\té ', max_size=4), min_size=1, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_any_csv_is_read_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("fuzz") / "data.csv"
    path.write_bytes("\n".join(",".join(row) for row in rows).encode())
    try:
        frame, _ = read_frame(path)
    except InputError:
        return
    assert len(frame.columns)
