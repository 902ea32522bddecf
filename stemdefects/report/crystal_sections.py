"""What the page says about displaced neighbours and strain."""

import html

import numpy as np

from stemdefects.analysis.estimates import number


def local(result) -> str:
    """Displacements around each class of defects."""
    found = result.local
    if found is None or not found.classes:
        return ""
    text = (
        "<p>Mean displacement of the nearest columns around each class, in the crystal's own frame, against ideal "
        "columns of the same frames measured in the same way. Positive is away from the defect.</p>"
    )
    items = [e for e in result.estimates if e.quantity == "outward displacement of the nearest columns"]
    main = "".join(f"<li>{html.escape(e.sentence())}</li>" for e in items if "@" not in e.subject)
    turned = "".join(f"<li>{html.escape(e.sentence())}</li>" for e in items if "@" in e.subject)
    text += f"<ul>{main}</ul>"
    if turned:
        text += f"<details><summary>orientation by orientation</summary><ul>{turned}</ul></details>"
    clear = []
    for c in found.classes.values():
        if "@" not in c.name and c.explained[0] > c.chance[0] and c.explained[0] > 1.25 * c.ideal[0]:
            clear.append(f"{html.escape(c.name)} ({100 * c.explained[0]:.0f}%, ideal columns {100 * c.ideal[0]:.0f}%)")
    if clear:
        text += (
            f"<p>The members of {', '.join(clear)} differ along one common mode more than chance and more than ideal "
            "columns do: such a class may hold more than one structure.</p>"
        )
    else:
        text += (
            "<p>Principal components: in no class do the members differ along a common mode by clearly more than "
            "ideal columns of the same frames, whose common modes are the scan's distortions. What shuffling alone "
            "would call a mode is not enough.</p>"
        )
    return text


def strain(result) -> str:
    """Strain of the field."""
    s = result.strain
    if s is None:
        return ""
    spread = [np.nanstd(v) for v in (s.exx, s.eyy, s.exy)]
    error = [np.median(e[np.isfinite(e)]) if np.isfinite(e).any() else np.nan for e in s.error[:, :3].T]
    parts = ", ".join(
        f"{name} {100 * a:.2f}%" + (f" (error {100 * e:.2f}%)" if np.isfinite(e) else "")
        for name, a, e in zip(("exx", "eyy", "exy"), spread, error, strict=True)
    )
    text = (
        f"<p>Strain against the field's mean lattice, from {s.n_columns} columns fitted in {s.n_frames} frames: its "
        f"scatter over the field is {parts}, averaged over about 1 nm. Rotation scatters by "
        f"{number(np.degrees(np.nanstd(s.rotation)))}°.</p>"
    )
    items = [e for e in result.estimates if e.quantity.startswith("distortion of the mean lattice")]
    text += "<ul>" + "".join(f"<li>{html.escape(e.sentence())}</li>" for e in items) + "</ul>"
    return text + (
        "<p>A scanned picture cannot tell strain from slow distortions of the scan; what keeps its place in the frame "
        "while the specimen drifts is the scan's.</p>"
    )
