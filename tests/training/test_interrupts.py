"""A signal is held back once."""

import signal
import threading

import pytest

from throughtime.training.interrupts import held_back


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_remembered_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with held_back() as asked:
        assert asked() == 0
        signal.raise_signal(number)
        assert asked() == number
    assert signal.getsignal(number) is before


def test_the_second_is_at_once():
    with held_back() as asked:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert asked() == signal.SIGINT


def test_the_same_signal_from_two_sides_is_one():
    with held_back(within=60) as asked:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert asked() == signal.SIGINT


def test_in_another_thread_nothing_is_held_back():
    found = []

    def work():
        with held_back() as asked:
            found.append((asked(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(0, signal.getsignal(signal.SIGINT))]
