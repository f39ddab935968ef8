"""Files of whole sequences: .ts and .npz, read as they are or refused with their place."""

import io
import zipfile

import numpy as np
import pytest

from throughtime.data.sequences.archive import read_archive
from throughtime.data_options import DataOptions
from throughtime.errors import InputError
from throughtime.specs import SequenceSpec

HEAD = "# made up\n@problemName x\n@univariate false\n@classLabel true 1 2\n@data\n"


def ts(path, body="1,2,3:4,5,6:1\n7,?:8,9:2\n", head=HEAD, name="x.ts"):
    (path / name).write_text(head + body)
    return path / name


def npz(path, **arrays):
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def test_a_ts_file_is_read_as_it_is(tmp_path):
    read = read_archive(ts(tmp_path))
    np.testing.assert_equal(read.values, [[1, 4], [2, 5], [3, 6], [7, 8], [np.nan, 9]])
    assert read.lengths.tolist() == [3, 2]
    assert read.words == ["1", "2"] and read.columns == ("dimension 1", "dimension 2")
    assert [line for _, line in read.rows] == [6, 7]


def test_the_test_file_beside_it_is_the_test_part(tmp_path):
    ts(tmp_path, name="x_TEST.ts", body="1:2:1\n")
    path = ts(tmp_path, name="x_TRAIN.ts")
    read = read_archive(path)
    assert read.part.tolist() == ["train", "train", "test"]
    assert read.words == ["1", "2", "1"] and len(read.values) == 6
    spec = SequenceSpec("archive", DataOptions(), ("1", "2"), False, read.columns)
    assert read_archive(path, learned=spec).part is None


def test_targets_of_a_ts_file_may_be_numbers(tmp_path):
    head = HEAD.replace("@classLabel true 1 2", "@targetlabel true")
    read = read_archive(ts(tmp_path, "1,2:3,4:0.5\n1:2:-7\n", head))
    assert read.numbers.tolist() == [[0.5], [-7]] and read.words is None


BAD_TS = {
    "no data line": ("@problemName x\n", "", "there is no line @data"),
    "a row before the data": ("1,2:1\n", "", "line 1: '1,2:1' before @data"),
    "no sequence": (HEAD, "\n", "there are no sequences after @data"),
    "a strange class": (HEAD, "1:2:3\n", "line 6: class '3' is not in @classLabel"),
    "another number of dimensions": (HEAD, "1:2:1\n1:2\n", "line 7: 1 dimensions, but"),
    "dimensions of unlike length": (
        HEAD,
        "1,2:3:1\n",
        "line 6: the dimensions of a sequence have 1 to 2 steps",
    ),
    "text": (HEAD, "1,x:3,4:1\n", "line 6, dimension 1: 'x' is not a number"),
    "no steps": (HEAD, "::1\n", "line 6: the sequence has no steps"),
    "an infinite value": (HEAD, "inf:1:1\n", "line 6: an infinite value"),
    "time stamps": (HEAD.replace("@data", "@timeStamps true\n@data"), "", "with time stamps"),
    "bytes": (HEAD, "\x00\x01:\x02:1\n", "line 6, dimension 1"),
}


@pytest.mark.parametrize(("head", "body", "told"), BAD_TS.values(), ids=BAD_TS.keys())
def test_bad_ts_files_get_one_line(tmp_path, head, body, told):
    with pytest.raises(InputError, match=told) as caught:
        read_archive(ts(tmp_path, body, head))
    assert str(tmp_path / "x.ts") in str(caught.value)


def test_two_files_that_do_not_fit_are_told(tmp_path):
    ts(tmp_path, name="x_TEST.ts", body="1:1\n")
    with pytest.raises(InputError, match=r"1 dimensions, but .*x_TRAIN.ts has 2"):
        read_archive(ts(tmp_path, name="x_TRAIN.ts"))


def test_an_npz_is_read_in_every_form_it_may_have(tmp_path):
    x = np.arange(24.0).reshape(3, 4, 2)
    read = read_archive(npz(tmp_path, x=x, y=np.array([0, 1, 0])))
    assert read.lengths.tolist() == [4, 4, 4] and read.words == ["0", "1", "0"]
    np.testing.assert_equal(read.values, x.reshape(12, 2))
    ragged = {"x": np.arange(6.0), "lengths": np.array([2, 4])}
    read = read_archive(npz(tmp_path, **ragged, y=np.array(["a", "b"])))
    assert read.lengths.tolist() == [2, 4] and read.words == ["a", "b"]
    read = read_archive(npz(tmp_path, **ragged, y=np.array([0.5, 2.0])))
    assert read.numbers.tolist() == [[0.5], [2]] and not read.every_step
    read = read_archive(npz(tmp_path, **ragged, y=np.array([0, 0, 1, 1, 0, 1])))
    assert read.every_step and len(read.words) == 6
    keys = np.array([[0, 1.0], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]])
    read = read_archive(npz(tmp_path, **ragged, y=keys, part=np.array(["train", "test"])))
    assert read.every_step and read.numbers.shape == (6, 2) and read.part.tolist()[1] == "test"


class Exploding:
    def __reduce__(self):
        return (print, ("code was run",))


BAD_NPZ = {
    "no x": ({"z": np.zeros(3)}, r"there is no array x \(arrays: z\)"),
    "objects": ({"x": np.array([Exploding()], dtype=object)}, "it contains Python objects"),
    "lengths that do not fit": (
        {"x": np.zeros((3, 1)), "lengths": np.array([1, 1])},
        "whole numbers, 1 or more, that add up",
    ),
    "an infinite value": (
        {"x": np.array([[[1.0], [np.inf]]])},
        r"an infinite value at \[0, 1, 0\]",
    ),
    "complex numbers": ({"x": np.zeros((1, 2, 1), dtype=complex)}, "is not a real number"),
    "answers that do not fit": (
        {"x": np.zeros((2, 3, 1)), "y": np.zeros(5)},
        "one label for each of 2",
    ),
    "a strange part": (
        {"x": np.zeros((1, 3, 1)), "y": np.zeros(1), "part": np.array(["half"])},
        "save train, validation or test for each",
    ),
    "nothing in it": ({"x": np.zeros((0, 3, 1))}, "shape"),
}


@pytest.mark.parametrize(("arrays", "told"), BAD_NPZ.values(), ids=BAD_NPZ.keys())
def test_bad_npz_files_get_one_line(tmp_path, arrays, told, capsys):
    with pytest.raises(InputError, match=told):
        read_archive(npz(tmp_path, **arrays))
    assert capsys.readouterr().out == ""


def test_damaged_npz_files_get_one_line(tmp_path):
    whole = npz(tmp_path, x=np.zeros((2, 3, 1)), y=np.zeros(2)).read_bytes()
    path = tmp_path / "x.npz"
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"x.npz: cannot be read as .npz"):
            read_archive(path)


def test_a_header_that_lies_takes_no_memory(tmp_path):
    path = tmp_path / "x.npz"
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", header.getvalue() + bytes(80))
    with pytest.raises(
        InputError, match=r"x.npz, array x: 80 bytes, but its header declares 8,000,000,000,000"
    ):
        read_archive(path)


@pytest.mark.parametrize("point", [0xD800, 0xDCFF, 0x7FFFFFFF])
def test_words_that_are_no_text_are_refused(tmp_path, point):
    """numpy keeps any number where a character belongs; a model could not be saved with it."""
    words = np.array([point, ord("a")] * 20, dtype=np.uint32).view("<U1")
    np.savez(tmp_path / "x.npz", x=np.zeros((40, 3, 1)), y=words)
    with pytest.raises(InputError, match="array y: the labels are not valid text; save valid"):
        read_archive(tmp_path / "x.npz")
