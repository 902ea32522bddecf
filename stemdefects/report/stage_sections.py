"""Sections of the page that stages of the analysis bring, and the order of all."""

import html

from stemdefects.report import sections


def of_stage(section) -> sections.Section:
    """The page's section of a stage (`analysis.stage.Section`)."""
    lines = "".join(f"<p>{sections.nice(line)}</p>" for line in section.lines[:1])
    lines += "<ul>" + "".join(f"<li>{sections.nice(line)}</li>" for line in section.lines[1:]) + "</ul>"
    for summary, more in section.folded.items():
        items = "".join(f"<li>{sections.nice(line)}</li>" for line in more)
        lines += f"<details><summary>{html.escape(summary)}</summary><ul>{items}</ul></details>" if items else ""
    return sections.Section(section.title, lambda result: lines, tuple(section.figures), dict(section.captions),
                   tuple(section.folded_figures), section.fold)  # fmt: skip


def of(result) -> list[sections.Section]:
    """All sections in order: what is to be read first, the stages' own, the rest."""
    stages = [of_stage(stage.section) for stage in result.stages if stage.section is not None]
    return [*sections.FIRST, *stages, *sections.SECTIONS]
