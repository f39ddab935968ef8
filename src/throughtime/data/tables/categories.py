"""Encode categorical columns as integer codes."""

from collections.abc import Sequence

import numpy as np

OTHER = "(other)"  # code 0 of every category: values not in the training data
UNKNOWN = "\ufffd"  # the same for characters and words of a text


def codes_of(
    columns: Sequence[Sequence[str | None]], learned: tuple[tuple[str, ...], ...] | None
) -> tuple[np.ndarray, tuple[tuple[str, ...], ...]]:
    """Encode columns as codes [R,M]; also return the vocabularies. Unknown values are code 0."""
    found: list[np.ndarray] = []
    vocabularies: list[tuple[str, ...]] = []
    for number, column in enumerate(columns):
        known = (
            learned[number]
            if learned is not None
            else (OTHER, *sorted({word for word in column if word is not None}))
        )
        code = {word: k for k, word in enumerate(known)}
        found.append(np.array([code.get(w or OTHER, 0) for w in column], dtype=np.int64))
        vocabularies.append(known)
    return np.column_stack(found), tuple(vocabularies)


def trained_codes(
    trained: np.ndarray, words: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Map old codes to new ones [M], and return the new vocabulary; unseen ones become code 0.

    >>> trained_codes(np.array([2, 2]), ("(other)", "a", "b"))
    (array([0, 0, 1]), ('(other)', 'b'))
    """
    seen = np.zeros(len(words), dtype=bool)
    seen[trained.astype(np.int64)] = True
    seen[0] = True
    new = np.where(seen, seen.cumsum() - 1, 0)
    return new, tuple(w for w, s in zip(words, seen.tolist(), strict=True) if s)


def in_sequences(names: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Group rows by sequence: row indices [R], lengths and names, by first appearance.

    >>> in_sequences(np.array(["b", "a", "b"]))
    (array([0, 2, 1]), array([2, 1]), ('b', 'a'))
    """
    known, first, of, counts = np.unique(
        names.astype(str), return_index=True, return_inverse=True, return_counts=True
    )
    ranked = np.argsort(first)
    rank = np.empty_like(ranked)
    rank[ranked] = np.arange(len(ranked))
    order = np.argsort(rank[of], kind="stable")
    return order, counts[ranked], tuple(known[ranked].tolist())
