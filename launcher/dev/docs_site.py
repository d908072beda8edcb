"""Checks the built documentation: `make docs`.

It reports broken links and anchors, pages that the navigation does not name, and everything that a page loads from
another server, and then exits with 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import unquote, urlsplit

from lxml import html

ROOT = Path(__file__).parent.parent.parent
# Attributes whose address a browser loads with the page, without a click, unless the element is `<a>`.
LOADING_ATTRIBUTES = {"src", "href", "data", "background"}
# Values of `<link rel=…>` whose address a browser does not load.
NOT_LOADED_RELS = {"alternate", "author", "canonical", "license", "next", "prev"}
# Its links begin at the root of a server.
NOT_FOUND_PAGE = "404.html"
HOME = "index.html"
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
STYLE_URL = re.compile(r"@import\s+[\"']([^\"']+)|url\(\s*[\"']?([^)\"'\s]+)")


class Page:
    """The links of a built page, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        root: Any = html.document_fromstring(text or "<html>")
        self.anchors: set[str] = {"", *root.xpath("//@id | //@name")}
        self.links: list[str] = []
        # The theme's links: the navigation, and the previous and next page.
        self.navigation: list[str] = []
        self.loads: list[str] = []
        for element, attribute, address, _ in root.iterlinks():
            if element.tag == "a":
                is_navigation = any(name.startswith("md-") for name in element.get("class", "").split())
                (self.navigation if is_navigation else self.links).append(address)
            elif attribute in LOADING_ATTRIBUTES and not NOT_LOADED_RELS & set(element.get("rel", "").split()):
                self.loads.append(address)
        for style in root.xpath("//style/text() | //@style"):
            self.loads += style_urls(style)
        for sources in root.xpath("//@srcset"):
            self.loads += [part.split()[0] for part in sources.split(",") if part.split()]
        # The theme loads the library that draws these diagrams from another server.
        if root.find_class("mermaid"):
            self.loads.append("https://unpkg.com/mermaid")


def style_urls(style: str) -> list[str]:
    """The addresses that a style sheet loads."""
    return [imported or url for imported, url in STYLE_URL.findall(style)]


def is_external(address: str) -> bool:
    """Whether the address is on another server."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data", "mailto", "tel")


@dataclass
class Site:
    """The site in `built`, made from the Markdown in `docs`; `other_markdown`: files outside it, as the README."""

    docs: Path
    built: Path
    other_markdown: list[Path] = field(default_factory=list)

    @cached_property
    def pages(self) -> dict[str, Page]:
        """Every built page, by its path in the site."""
        files = sorted(self.built.rglob("*.html"))
        return {file.relative_to(self.built).as_posix(): Page(file.read_text()) for file in files}

    def problems(self) -> list[str]:
        """One sentence for each problem."""
        return [
            *self._broken_links(),
            *self._broken_links_of_other_markdown(),
            *self._missing_in_navigation(),
            *self._external_loads(),
        ]

    def _broken_links(self) -> Iterator[str]:
        for name, page in self.pages.items():
            if name == NOT_FOUND_PAGE:
                continue
            # Every page has the same navigation, so it is checked on one page only.
            for link in dict.fromkeys([*page.links, *page.loads, *(page.navigation if name == HOME else ())]):
                problem = "" if is_external(link) or link.startswith("data:") else self._link_problem(name, link)
                if problem:
                    written = re.sub(r"\.html(?=#|$)", ".md", link)
                    yield f"{self._source(name)} links to {written}, {problem}."

    def _link_problem(self, name: str, link: str) -> str:
        """What is wrong with a link of a page; '' if nothing is."""
        parts = urlsplit(link)
        target = normpath((PurePosixPath(name).parent / unquote(parts.path)).as_posix()) if parts.path else name
        if target.startswith("..") or parts.path.startswith("/"):
            return "which is outside the site"
        if (self.built / target).is_dir():
            target = (PurePosixPath(target) / "index.html").as_posix()
        if not (self.built / target).is_file():
            return "which does not exist"
        anchors = self.pages[target].anchors if target in self.pages else {""}
        return "" if unquote(parts.fragment) in anchors else f"which has no anchor '{parts.fragment}'"

    def _broken_links_of_other_markdown(self) -> Iterator[str]:
        """Links to files of the repository, and to headings of the site."""
        for file in self.other_markdown:
            for link in MARKDOWN_LINK.findall(file.read_text()):
                parts = urlsplit(link)
                target = file.parent / unquote(parts.path)
                if is_external(link) or not parts.path:
                    continue
                if not target.exists():
                    yield f"{file.name} links to {link}, which does not exist."
                elif target.suffix == ".md" and target.is_relative_to(self.docs):
                    built = target.relative_to(self.docs).with_suffix(".html").as_posix()
                    if built in self.pages and unquote(parts.fragment) not in self.pages[built].anchors:
                        yield f"{file.name} links to {link}, which has no anchor '{parts.fragment}'."

    def _missing_in_navigation(self) -> Iterator[str]:
        home = self.pages.get(HOME)
        paths = (urlsplit(link).path for link in (home.navigation if home else ()))
        named = {normpath(path) for path in paths if path} | {HOME}
        for file in sorted(self.docs.rglob("*.md")):
            if file.relative_to(self.docs).with_suffix(".html").as_posix() not in named:
                yield f"{self._markdown(file)} is not in the navigation: zensical.toml must name it."

    def _external_loads(self) -> Iterator[str]:
        loads = [(self._source(name), page.loads) for name, page in self.pages.items()]
        for file in sorted(self.built.rglob("*.css")):
            loads.append((file.relative_to(self.built).as_posix(), style_urls(file.read_text())))
        for source, addresses in loads:
            for address in filter(is_external, dict.fromkeys(addresses)):
                yield f"{source} loads {address} from another server."

    def _source(self, name: str) -> str:
        """The Markdown file of a built page; the page itself if there is none."""
        source = self.docs / PurePosixPath(name).with_suffix(".md")
        return self._markdown(source) if source.is_file() else name

    def _markdown(self, file: Path) -> str:
        return (PurePosixPath(self.docs.name) / file.relative_to(self.docs)).as_posix()


def main() -> int:
    """Prints the problems, and returns the exit status."""
    site = Site(ROOT / "docs", ROOT / "artefacts" / "site", sorted(ROOT.glob("*.md")))
    problems = site.problems()
    for sentence in problems:
        sys.stderr.write(sentence + "\n")
    if not problems:
        folder = site.built.relative_to(ROOT)
        sys.stdout.write(
            f"{len(site.pages)} pages in {folder}: no broken links, nothing is loaded from other servers.\n"
        )
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
