"""Words as codes."""

from collections.abc import Sequence

import numpy as np

OTHER = "(other)"  # the first code of every category: what training did not know
UNKNOWN = "\ufffd"  # the same of characters and words of a text


def codes_of(
    columns: Sequence[Sequence[str | None]], learned: tuple[tuple[str, ...], ...] | None
) -> tuple[np.ndarray, tuple[tuple[str, ...], ...]]:
    """Words as codes [R,M], and the words of each; what is not known is `OTHER`, code 0."""
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
