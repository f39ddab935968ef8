"""Predicted tables whose text a spreadsheet takes for text."""

import polars as pl

# what spreadsheets take for the beginning of a formula (OWASP, CSV injection)
_FORMULA = r"^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def escaped(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with a ' before every text cell, and column name, that begins like a formula.

    >>> escaped(pl.DataFrame({"label": ["=1+1", "-3", "a"]}))["label"].to_list()
    ["'=1+1", '-3', 'a']

    Numbers stay numbers, in columns of numbers and as text.
    """
    text = pl.selectors.string()
    risky = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    frame = frame.with_columns(pl.when(risky).then(pl.lit("'") + text).otherwise(text).name.keep())
    names = pl.Series(frame.columns, dtype=pl.String)
    begins = names.str.contains(_FORMULA) & ~names.str.contains(_NUMBER)
    taken = set(frame.columns)
    renamed: dict[str, str] = {}
    for name in names.filter(begins):
        new = f"'{name}"
        while new in taken:  # two columns of one name would be no table
            new = f"'{new}"
        taken.add(new)
        renamed[name] = new
    return frame.rename(renamed)
