"""Seeded random numbers that leave the caller's generator unchanged."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch

_one_at_a_time = threading.RLock()  # all threads share torch's generator


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch within the block; other threads that call this wait."""
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
