"""What a value may be: it stands beside its default, and nowhere else; `config.check` holds values to it."""

import math
from dataclasses import field
from typing import Any


def range_of(low: float, high: float, least: float = -math.inf, most: float = math.inf) -> Any:
    """Two numbers, the lower first, within [least, most]; drawn from per image."""
    return field(default_factory=lambda: [low, high], metadata={"range": (least, most)})


def one_of(default: Any, *choices: Any) -> Any:
    """One of `choices`."""
    return field(default=default, metadata={"choices": choices})


def between(default: Any, least: float, most: float) -> Any:
    """A number within [least, most]."""
    return field(default=default, metadata={"bounds": (least, most)})


def some_of(default: list[Any], *choices: Any) -> Any:
    """A list of these."""
    return field(default_factory=lambda: list(default), metadata={"each": {"choices": choices}})


def positives() -> Any:
    """Positive numbers; none by default."""
    return field(default_factory=list, metadata={"each": {"positive": True}})


def fractions() -> Any:
    """A fraction by name; none by default."""
    return field(default_factory=dict, metadata={"each": {"bounds": (0, 1)}})


def fraction(default: Any) -> Any:
    """A probability or a share."""
    return between(default, 0, 1)


def least(default: Any, least: float) -> Any:
    """A number of at least `least`."""
    return between(default, least, math.inf)


def positive(default: Any) -> Any:
    """A number above 0."""
    return field(default=default, metadata={"positive": True})
