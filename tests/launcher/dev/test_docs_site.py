"""What is wrong with a built site is said in a sentence that names the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.dev.docs_site import Site

# What a built page holds besides its navigation; what is said of it, '' for nothing.
PAGES = [
    ('<a href="guides/other.html#part">a heading of another page</a>', ""),
    ('<h2 id="here">Here</h2><a href="#here">a heading of the same page</a>', ""),
    ('<a href="picture.png">a file</a> <img src="picture.png">', ""),
    ('<a href="https://example.com/page">another site, by a click</a>', ""),
    ('<a href="guides/gone.html">no such page</a>', "docs/index.md links to guides/gone.md, which does not exist."),
    (
        '<a href="guides/other.html#gone">no such heading</a>',
        "docs/index.md links to guides/other.md#gone, which has no anchor 'gone'.",
    ),
    ('<a href="#gone">no such heading here</a>', "docs/index.md links to #gone, which has no anchor 'gone'."),
    ('<img src="gone.png">', "docs/index.md links to gone.png, which does not exist."),
    ('<a href="../README.md">a file of the repository</a>', "docs/index.md links to ../README.md, which is outside"),
    ('<a href="/guides/other.html">from the root</a>', "docs/index.md links to /guides/other.md, which is outside"),
    (
        '<script src="https://example.com/a.js"></script>',
        "docs/index.md loads https://example.com/a.js from another server.",
    ),
    (
        '<link rel="stylesheet" href="//example.com/a.css">',
        "docs/index.md loads //example.com/a.css from another server.",
    ),
    ('<img srcset="picture.png 1x, https://example.com/2.png 2x">', "docs/index.md loads https://example.com/2.png"),
    ('<p style="background: url(https://example.com/b.png)">', "docs/index.md loads https://example.com/b.png"),
    ("<style>@import 'https://example.com/c.css';</style>", "docs/index.md loads https://example.com/c.css"),
    ('<pre class="mermaid">graph</pre>', "docs/index.md loads https://unpkg.com/mermaid from another server."),
    ('<link rel="canonical" href="https://example.com/">', ""),
]
NAVIGATION = '<a class="md-nav__link" href="index.html">Home</a><a class="md-nav__link" href="guides/other.html">O</a>'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two pages and a picture, in order."""
    made = Site(tmp_path / "docs", tmp_path / "site")
    for folder in (made.docs, made.built):
        (folder / "guides").mkdir(parents=True)
    for name in ("index.md", "guides/other.md"):
        (made.docs / name).write_text("# A page\n")
    (made.built / "index.html").write_text(NAVIGATION)
    (made.built / "guides/other.html").write_text('<h2 id="part">Part</h2>')
    (made.built / "picture.png").write_bytes(b"")
    (made.built / "style.css").write_text("@import 'other.css'; a { background: url(data:image/png;base64,AA) }")
    return made


@pytest.mark.parametrize(("html", "said"), PAGES)
def test_a_page_is_in_order_or_a_sentence_names_it(site: Site, html: str, said: str) -> None:
    (site.built / "index.html").write_text(NAVIGATION + html)
    problems = site.problems()
    assert len(problems) == bool(said), problems
    assert all(one.startswith(said) and one.endswith(".") for one in problems), problems


def test_a_page_outside_the_navigation_is_named(site: Site) -> None:
    (site.docs / "guides/lost.md").write_text("# Lost\n")
    (site.built / "guides/lost.html").write_text("")
    assert site.problems() == ["docs/guides/lost.md is not in the navigation: zensical.toml must name it."]


def test_a_style_sheet_that_loads_from_elsewhere_is_named(site: Site) -> None:
    (site.built / "style.css").write_text("@font-face { src: url('https://example.com/f.woff2') }")
    assert site.problems() == ["style.css loads https://example.com/f.woff2 from another server."]


def test_links_of_the_readme_are_looked_at_too(site: Site) -> None:
    readme = site.docs.parent / "README.md"
    readme.write_text(
        "[a](docs/guides/other.md#part) [b](https://example.com) [c](docs/gone.md) [d](docs/guides/other.md#gone)"
    )
    site.other_markdown.append(readme)
    assert site.problems() == [
        "README.md links to docs/gone.md, which does not exist.",
        "README.md links to docs/guides/other.md#gone, which has no anchor 'gone'.",
    ]
