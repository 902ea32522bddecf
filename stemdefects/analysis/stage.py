"""What one stage of the analysis hands on; pipeline and report only go through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stemdefects.analysis.estimates import Estimate


@dataclass(frozen=True)
class Section:
    """A section of the page, in plain words: `lines` are said, `folded` ({summary: lines}) unfold on a click.

    figures, folded_figures: names of `StageResult.figures`, shown open or folded under `fold`; captions by figure.
    """

    title: str
    lines: Sequence[str] = ()
    folded: Mapping[str, Sequence[str]] = field(default_factory=dict)
    figures: Sequence[str] = ()
    folded_figures: Sequence[str] = ()
    fold: str = "diagnostics"
    captions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """estimates and notes in the order they are to be read; tables: DataFrames by the name of their CSV; figures: what
    is to be drawn by the name of the drawing (`report.figures.OF_STAGES`); section: None where there is nothing to say.
    """

    estimates: Sequence[Estimate] = ()
    notes: Sequence[str] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    section: Section | None = None


Progress = Callable[[Any, str], Any]  # wraps the items of a long loop in a bar
