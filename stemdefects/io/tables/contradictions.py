"""Where the states that all frames together give are contradicted: what is kept of it in a table, and its words.

`inference/evidence/cross_checks.py` finds them. A table keeps them as the attribute `over_time_contradictions`.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

ATTRIBUTE = "over_time_contradictions"


class Code(Enum):
    """What contradicts the states over time."""

    LIGHT = "their columns do not have the light of the kind"
    LASTING = "ideal columns differ among themselves, for good, as much as the kind from the ideal state"
    UNSEEN = "single frames do not see them where their evidence says that they should"
    DENIED = "what single frames call is not among them"


class Contradiction(NamedTuple):
    """kind: of the states over time, `n` columns and frames at `sites` sites; found and expected: what `code` is about,
    a share of an ideal column's light (LIGHT, LASTING), of the n (UNSEEN), a number of the n calls of single frames
    (DENIED)."""

    code: Code
    kind: str
    n: int
    sites: int
    found: float
    expected: float

    @property
    def sentence(self) -> str:
        """In words, with the figures."""
        return _WORDS[self.code].format(**self._asdict(), more="more" if self.expected > 0 else "less")


_WORDS = {
    Code.LIGHT: (
        "{kind} over time ({n} columns in frames, {sites} sites): the columns have {found:+.0%} of an ideal column's "
        "light where {kind} has {expected:+.0%}."
    ),
    Code.LASTING: (
        "{kind} over time ({n} columns in frames, {sites} sites): ideal columns differ by {found:.0%} of their light "
        "from site to site, in all frames alike, where {kind} differs by {expected:.0%}."
    ),
    Code.UNSEEN: (
        "{kind} over time ({n} columns in frames, {sites} sites): single frames see {found:.0%} of them where by their "
        "evidence {expected:.0%} should be seen."
    ),
    Code.DENIED: (
        "{kind}: of {n} calls in single frames {found:.0f} are something else over time, where {expected:.0f} "
        "should be wrong by their own probability."
    ),
}


def to_plain(found: Iterable[Contradiction]) -> list[dict[str, Any]]:
    """For the attributes of a table."""
    return [one._asdict() | {"code": one.code.name} for one in found]


def of_table(attrs: dict[str, Any]) -> list[Contradiction]:
    """What a table with these attributes keeps."""
    return [Contradiction(**one | {"code": Code[one["code"]]}) for one in attrs.get(ATTRIBUTE) or []]


def sentences(attrs: dict[str, Any]) -> list[str]:
    """What a reader of a table's states over time has to be told, a sentence each."""
    return [one.sentence for one in of_table(attrs)]
