"""Random numbers by a seed, which leave the caller's generator as it was."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.RLock()  # torch's generator is one for all threads


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draw by a seed within the block; other threads that ask for the same wait."""
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
