"""Errors in the words of Python: arguments where the command line has options."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from throughtime.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")


def as_argument(text: object) -> str:
    """The words of an error with arguments in the place of options: --batch-size, batch_size."""
    words = re.sub(r"(?:see )?throughtime (\w+) --help", r"see help(throughtime.\1)", str(text))
    words = re.sub(r"\bset --([a-z][a-z-]*) ([a-z]+)\b", r'set \1="\2"', words)
    return re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), words)


def named_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Raise errors in the words of Python; the command line finds its own in ``__cause__``."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except InputError as error:
            raise InputError(*map(as_argument, error.args)) from error

    return call
