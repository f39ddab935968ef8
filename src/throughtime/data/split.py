"""The shares of the data for training, validation and test."""

from dataclasses import dataclass

from throughtime.errors import InputError


@dataclass(frozen=True)
class Split:
    """The shares of the time for training, validation and test."""

    training: float
    validation: float
    test: float

    @staticmethod
    def read(text: str) -> "Split":
        """Parse percentages such as 70/15/15. Raises InputError unless they add up to 100."""
        try:
            parts = [float(part) for part in text.split("/")]
        except ValueError:
            parts = []
        if len(parts) != 3 or not all(part > 0 for part in parts) or abs(sum(parts) - 100) > 1e-6:
            raise InputError(
                "--split",
                f"{text!r} is not three percentages that add up to 100",
                "give a split such as 70/15/15",
            )
        return Split(*(part / 100 for part in parts))

    def __str__(self) -> str:
        return "/".join(f"{100 * part:g}" for part in (self.training, self.validation, self.test))


USUAL_SPLIT = Split(0.70, 0.15, 0.15)
