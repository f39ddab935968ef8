"""Escape text cells that a spreadsheet would run as formulas."""

import polars as pl

# first characters of formulas in spreadsheets (OWASP, CSV injection)
_FORMULA = r"^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def escaped(frame: pl.DataFrame) -> pl.DataFrame:
    """Put a ' before every text cell and column name that begins like a formula.

    >>> escaped(pl.DataFrame({"label": ["=1+1", "-3", "a"]}))["label"].to_list()
    ["'=1+1", '-3', 'a']

    Numbers are not changed, neither in numeric columns nor as text.
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
        while new in taken:  # column names must be unique
            new = f"'{new}"
        taken.add(new)
        renamed[name] = new
    return frame.rename(renamed)
