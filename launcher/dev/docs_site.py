"""Looks through the built documentation: `make docs`. It needs the standard library alone.

A link or an anchor that leads nowhere, a page that the navigation does not name, and anything that a page loads from
elsewhere: each is a sentence that names the page, and ends the command with 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent.parent
# Elements and the attribute by which a browser fetches something at once, and not when it is asked to.
LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "image": "href",
    "img": "src",
    "input": "src",
    "object": "data",
    "script": "src",
    "source": "src",
    "track": "src",
    "use": "href",
    "video": "src",
}
# `<link rel=…>` that only names something.
NAMED_ONLY = {"alternate", "author", "canonical", "license", "next", "prev"}
# Its links are from the root of a server.
NOT_FOUND = "404.html"
HOME = "index.html"
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
STYLE_LOADS = re.compile(r"@import\s+[\"']([^\"']+)|url\(\s*[\"']?([^)\"'\s]+)")


class Page(HTMLParser):
    """What a built page links to, loads, and may be linked to by."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.navigation: list[str] = []
        self.loads: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes up one element."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            # The theme's own: the navigation and what is before and after, on every page.
            is_themes = any(name.startswith("md-") for name in given.get("class", "").split())
            (self.navigation if is_themes else self.links).append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])
        if tag == "link" and not set(given.get("rel", "").split()) & NAMED_ONLY:
            self.loads.append(given.get("href", ""))
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(",") if part.split()]
        self.loads += style_loads(given.get("style", ""))
        # What draws these is fetched from elsewhere.
        if "mermaid" in given.get("class", "").split():
            self.loads.append("https://unpkg.com/mermaid")
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """Leaves an element."""
        self._in_style = False

    def handle_data(self, data: str) -> None:
        """Takes up text: of a style sheet within the page what it loads."""
        if self._in_style:
            self.loads += style_loads(data)


def style_loads(style: str) -> list[str]:
    """What a style sheet has a browser fetch."""
    return [one or other for one, other in STYLE_LOADS.findall(style)]


def is_elsewhere(address: str) -> bool:
    """Whether it leads to another server."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data", "mailto", "tel")


@dataclass
class Site:
    """The site in `built`, made from the Markdown below `docs`; `beside` are Markdown files that lie elsewhere."""

    docs: Path
    built: Path
    beside: list[Path] = field(default_factory=list)

    @cached_property
    def pages(self) -> dict[str, Page]:
        """Every built page, by its path in the site."""
        files = sorted(self.built.rglob("*.html"))
        return {file.relative_to(self.built).as_posix(): Page(file.read_text()) for file in files}

    def problems(self) -> list[str]:
        """A sentence for each; none where the site is in order."""
        return [*self._broken_links(), *self._broken_links_beside(), *self._not_in_navigation(), *self._loads()]

    def _broken_links(self) -> Iterator[str]:
        for name, page in self.pages.items():
            if name == NOT_FOUND:
                continue
            # The same navigation stands on every page: it is looked at on the first alone.
            for link in dict.fromkeys([*page.links, *page.loads, *(page.navigation if name == HOME else ())]):
                fault = "" if is_elsewhere(link) or link.startswith("data:") else self._fault(name, link)
                if fault:
                    yield f"{self._source(name)} links to {self._as_written(link)}, {fault}."

    def _fault(self, name: str, link: str) -> str:
        """What is wrong with a link of a page; '' where nothing is."""
        parts = urlsplit(link)
        target = normpath((PurePosixPath(name).parent / unquote(parts.path)).as_posix()) if parts.path else name
        if target.startswith("..") or parts.path.startswith("/"):
            return "which lies outside the site"
        if (self.built / target).is_dir():
            target = (PurePosixPath(target) / "index.html").as_posix()
        if not (self.built / target).is_file():
            return "which is not there"
        anchors = self.pages[target].anchors if target in self.pages else {""}
        return "" if unquote(parts.fragment) in anchors else f"where nothing is called '{parts.fragment}'"

    def _broken_links_beside(self) -> Iterator[str]:
        """Of Markdown files beside the site, such as the README: files of the repository, and the site's headings."""
        for file in self.beside:
            for link in MARKDOWN_LINK.findall(file.read_text()):
                parts = urlsplit(link)
                target = file.parent / unquote(parts.path)
                if is_elsewhere(link) or not parts.path:
                    continue
                if not target.exists():
                    yield f"{file.name} links to {link}, which is not there."
                elif target.suffix == ".md" and target.is_relative_to(self.docs):
                    built = target.relative_to(self.docs).with_suffix(".html").as_posix()
                    if built in self.pages and unquote(parts.fragment) not in self.pages[built].anchors:
                        yield f"{file.name} links to {link}, where nothing is called '{parts.fragment}'."

    def _not_in_navigation(self) -> Iterator[str]:
        home = self.pages.get(HOME)
        paths = (urlsplit(link).path for link in (home.navigation if home else ()))
        named = {normpath(path) for path in paths if path} | {HOME}
        for file in sorted(self.docs.rglob("*.md")):
            if file.relative_to(self.docs).with_suffix(".html").as_posix() not in named:
                yield f"{self._markdown(file)} is not in the navigation: zensical.toml must name it."

    def _loads(self) -> Iterator[str]:
        for name, page in self.pages.items():
            for address in dict.fromkeys(page.loads):
                if is_elsewhere(address):
                    yield f"{self._source(name)} loads {address} from elsewhere."
        for file in sorted(self.built.rglob("*.css")):
            for address in dict.fromkeys(style_loads(file.read_text())):
                if is_elsewhere(address):
                    yield f"{file.relative_to(self.built).as_posix()} loads {address} from elsewhere."

    def _source(self, name: str) -> str:
        """What a built page is made from, as a person would look for it."""
        source = self.docs / PurePosixPath(name).with_suffix(".md")
        return self._markdown(source) if source.is_file() else name

    def _markdown(self, file: Path) -> str:
        return (PurePosixPath(self.docs.name) / file.relative_to(self.docs)).as_posix()

    @staticmethod
    def _as_written(link: str) -> str:
        return re.sub(r"\.html(?=#|$)", ".md", link)


def main() -> int:
    """Says what is wrong; the exit status."""
    site = Site(ROOT / "docs", ROOT / "artefacts" / "site", sorted(ROOT.glob("*.md")))
    problems = site.problems()
    for sentence in problems:
        sys.stderr.write(sentence + "\n")
    if not problems:
        where = site.built.relative_to(ROOT)
        sys.stdout.write(f"{len(site.pages)} pages in {where}: no broken link, nothing loaded from elsewhere.\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
