"""The result of a comparison in Python."""

import shutil
import tempfile
import weakref
from dataclasses import fields
from pathlib import Path

import polars as pl

from throughtime.catalogue import label_of
from throughtime.deploy.model import Model, load_model
from throughtime.runs import ComparisonRecord, Verdict


class TemporaryFolder:
    """A folder that is removed when no object refers to it any more; copies refer to the same.

    >>> (TemporaryFolder().path / "run").exists()
    False
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="throughtime-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def __deepcopy__(self, memo: object) -> "TemporaryFolder":
        return self


class Result:
    """A finished comparison; returned by `compare`.

    >>> result = compare(read("co2.csv", target="co2", horizon=4, missing="interpolate"))
    >>> result.verdict.headline
    'Use GRU: ...'
    """

    def __init__(
        self, record: ComparisonRecord, folder: Path, temporary: "TemporaryFolder | None" = None
    ) -> None:
        self.record = record
        self.folder = folder
        self._temporary = temporary  # removed with the last result, or copy of one, that has it

    @property
    def verdict(self) -> Verdict:
        """The recommendation and its reasons."""
        return self.record.verdict

    @property
    def model(self) -> Model:
        """The recommended model."""
        return load_model(self.folder / "model")

    def table(self) -> pl.DataFrame:
        """One row per candidate, best first; errors are in the unit ``record.unit``.

        >>> result.table().select("network", "error", "low", "high")
        """
        names = [f.name for f in fields(self.verdict.candidates[0])]
        rows = {n: [getattr(c, n) for c in self.verdict.candidates] for n in names}
        return pl.DataFrame({"network": [label_of(kind) for kind in rows["kind"]], **rows})

    def report(self, path: str | Path) -> Path:
        """Write the HTML report; return its path.

        >>> result.report("page.html")

        Args:
            path: The file to write.

        Raises:
            InputError: If it would replace a record or a model.
        """
        from throughtime.files import write_whole
        from throughtime.output_guard import check_output_file
        from throughtime.report.page import write_page

        page = Path(path)
        check_output_file("report()", page, [self.folder / "comparison.json"])
        write_whole(page, write_page(self.record), named=True)
        return page

    def __repr__(self) -> str:
        return "\n".join([self.verdict.headline, *(f"- {r}" for r in self.verdict.reasons)])

    def _repr_html_(self) -> str:
        from throughtime.report.page import summary

        return summary(self.record)
