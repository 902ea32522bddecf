"""Links between the documents: ours all lead somewhere, and what does not is told."""

from pathlib import Path

import pytest

import stemdefects
from docs import check_links, site_hooks

ROOT = Path(__file__).resolve().parents[2]


def test_every_link_of_ours_leads_somewhere():
    assert check_links.main(ROOT) == []


@pytest.fixture
def small(tmp_path):
    """A root with a README and two documents of which every link is right."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "one.py").write_text('"""Writes docs/a.md."""\n')
    (tmp_path / "README.md").write_text("# Top\n\n[a](docs/a.md#some-words-1), [net](https://nowhere.invalid/x)\n")
    (tmp_path / "docs" / "a.md").write_text(
        "# A\n\n## Some `words`\n\n## Some words\n\n[top](../README.md#top), [here](#a), `[no](link.md)`\n\n"
        "```\n[nor](this.md)\n# no heading\n```\n".replace("`[no](link.md)`", "words")
    )
    (tmp_path / "mkdocs.yml").write_text("nav:\n  - A: a.md\n")
    return tmp_path


def test_right_links_are_right(small):
    assert check_links.main(small) == []


@pytest.mark.parametrize(
    "text, told",
    [
        ("[b](b.md)", "b.md) does not exist"),
        ("![b](pictures/b.png)", "pictures/b.png) does not exist"),
        ("[up](../README.md#bottom)", "no heading of that name; it has top"),
        ("[here](#no-heading)", "no heading of that name"),
        ("[out](../../other)", "leads out of the repository"),
        ("see benchmarks/two.py", "names benchmarks/two.py, which does not exist"),
        ("held by `io/test_one.py`", "names io/test_one.py, which does not exist"),
        ("`benchmarks/one.py`, `::test_two`", "names ::test_two, which does not exist"),
    ],
)
def test_what_leads_nowhere_is_told(small, text, told):
    page = small / "docs" / "a.md"
    page.write_text(page.read_text() + text + "\n")
    (fault,) = check_links.main(small)
    assert fault.startswith("docs/a.md") and told in fault


def test_a_page_that_the_navigation_lacks_is_told(small):
    (small / "docs" / "lost.md").write_text("# Lost\n")
    assert check_links.main(small) == ["mkdocs.yml: nav does not have docs/lost.md"]


def test_links_out_of_docs_become_words_on_the_site_and_cards_become_pages():
    text = (
        "[`p.py`](../stemdefects/config.py) [card](../stemdefects/models/pretrained/mos2/README.md) [gone](../gone.py)"
    )
    assert site_hooks.linked(text, "inference.md") == "`p.py` [card](cards/mos2.md) [gone](../gone.py)"
    assert site_hooks.linked("[a](docs/architecture.md)", "contributing.md") == "[a](architecture.md)"
    assert site_hooks.linked("[a](../README.md#two-commands)", "index.md") == "[a](index.md#two-commands)"


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs" / "reference.md").read_text()
    homes = stemdefects._HOMES
    assert not [name for name, home in homes.items() if f"::: {home}.{name}\n" not in text]
