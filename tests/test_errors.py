"""The user's errors: one line, with the nearest names."""

import os
import pickle

import pytest

from throughtime.errors import (
    InputError,
    is_memory_shortage,
    library_errors,
    nearest,
    one_line,
    shown_path,
)


def test_an_error_is_one_line_of_place_finding_and_next_step():
    error = InputError("a.csv, row 7", "text\n'x'", "write a number")
    assert str(error) == "a.csv, row 7: text 'x'; write a number"
    assert isinstance(error, ValueError)


def test_an_error_comes_whole_from_another_process():
    error = InputError("a.csv, row 7", "text 'x'", "write a number")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("co", ["date", "co2"], "did you mean 'co2'?"),
        ("CO2", ["date", "co2"], "did you mean 'co2'?"),
        ("xyz", ["date", "co2"], "there are: date, co2"),
        ("x", [], "there are none"),
        ("zzz", [f"c{i}" for i in range(20)], ", ..."),
    ],
)
def test_the_nearest_names_are_offered(name, known, text):
    assert nearest(name, known).endswith(text)


def test_what_is_long_is_cut_and_what_a_terminal_would_obey_is_written_out():
    told = str(InputError("a\nb\x1b[31m.csv", "x" * 10**6, "mend it"))
    assert told.startswith("a b\\x1b[31m.csv: xxx") and told.endswith("...; mend it")
    assert len(told) < 1100
    assert shown_path("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert one_line(" a\n\tb\u202e ") == "a b\\u202e"


def test_library_errors_become_ours_and_nothing_else_does():
    def raising(error):
        with library_errors("x.csv", "cannot be read", "write it again"):
            raise error

    panic = type("PanicException", (BaseException,), {})
    for error in (ValueError("a\nb"), OSError("a"), panic("a")):
        with pytest.raises(InputError, match=r"x.csv: cannot be read \(a\); write it again"):
            raising(error)
    for error in (InputError("a", "b", "c"), MemoryError(), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught:
            raising(error)
        assert caught.value is error


def test_what_a_panic_prints_is_dropped_and_what_others_print_is_not(capfd):
    panic = type("PanicException", (BaseException,), {})
    with library_errors("a", "b", "c"):
        os.write(2, b"a warning\n")
    with pytest.raises(InputError), library_errors("a", "b", "c"):
        os.write(2, b"before\n\nthread 'main' (7) panicked at x.rs:1:2:\nbad\nstack backtrace:\n")
        raise panic("bad")
    with pytest.raises(InputError), library_errors("a", "b", "c"):
        os.write(2, b"a note\n")
        raise ValueError("bad")
    assert capfd.readouterr().err == "a warning\nbefore\na note\n"


def test_no_room_for_what_is_printed_is_no_fault_of_the_data(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    handles = os.listdir("/proc/self/fd")  # noqa: PTH208
    for _ in range(5):
        with library_errors("data.parquet", "cannot be read", "write it again"):
            pass
    assert len(os.listdir("/proc/self/fd")) == len(handles)  # noqa: PTH208


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 3 GB"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("shapes differ"), False),
        (ImportError("no module named x"), False),
    ],
)
def test_a_shortage_of_memory_is_known_by_whatever_tells_it(error, short):
    assert is_memory_shortage(error) is short
