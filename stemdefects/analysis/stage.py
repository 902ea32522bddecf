"""What one stage of the analysis hands on; pipeline and report only go through it.

A stage is a function `(inputs, cfg, seed) -> StageResult` (`inputs.Stage`): it changes nothing that it is given, and
draws its random numbers from streams of its own name (`seeds.stream(seed, "its name")`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stemdefects.analysis.estimates import Estimate

Progress = Callable[[Any, str], Any]  # wraps the items of a long loop in a bar


@dataclass(frozen=True)
class Items:
    """Sentences, one to a line."""

    lines: Sequence[str]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Quoted:
    """The estimates of these quantities in sentences, whichever stage they come from."""

    quantities: Sequence[str]
    kind: ClassVar[str] = "quoted"


@dataclass(frozen=True)
class Grid:
    """A table: names of its columns, and rows of cells; a cell of True or False is a verdict."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | int | bool | None]]
    kind: ClassVar[str] = "grid"


@dataclass(frozen=True)
class Figure:
    """A figure by its name in `StageResult.figures`, with its caption."""

    name: str
    caption: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Fold:
    """Blocks that unfold on a click on `summary`."""

    summary: str
    blocks: Sequence["Block"]
    kind: ClassVar[str] = "fold"


Block = str | Items | Quoted | Grid | Figure | Fold  # a string is a paragraph


@dataclass(frozen=True)
class Section:
    """A section of the page, in plain words; blocks with nothing in them are not shown."""

    title: str
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class StageResult:
    """What a stage found.

    Attributes:
        estimates, notes: in the order they are to be read.
        tables: DataFrames by the name of their CSV.
        figures: what is to be drawn, by the name of the drawing (`report.drawings`); or a function of matplotlib's
            pyplot that gives the figure, None where there is nothing to draw.
        files: texts by the name of the file that they are written to, beside the tables.
        section: of the page; None where there is nothing to say.
        data: the stage's own result, for later stages and for those who want everything.
    """

    estimates: Sequence[Estimate] = ()
    notes: Sequence[str] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    section: Section | None = None
    data: Any = None
    files: Mapping[str, str] = field(default_factory=dict)


def sentences(estimates: Sequence[Estimate], wanted: Callable[[Estimate], bool] | None = None) -> Items:
    """The estimates that are `wanted` (None: all) as sentences."""
    return Items([e.sentence() for e in estimates if wanted is None or wanted(e)])
