"""Whatever a library raises: ours, one line, and nothing lost."""

import os

import pytest

from throughtime.errors import InputError
from throughtime.library_errors import is_memory_shortage, library_errors


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
