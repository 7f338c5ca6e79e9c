"""Builds the documentation site, strictly: a warning, a dead link or a page without a place fails.

Usage: python .ci/build_site.py        (needs the dependency group docs; writes site/)

docs/ is read on the web as it is, where its links lead to files all over the repository. The site
has docs/ alone; so a copy is made in build/docs, with those files in it and the links turned to
them.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
STAGED = ROOT / "build" / "docs"
SITE = ROOT / "site"
# What the site takes along beside docs/, and where it lies there.
PAGES = {"CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
FOLDERS = ["examples"]
# Where each name that a package promises has to be.
REFERENCE = {
    "karla_receiver": "front-door",
    "karla_receiver.explain": "explain",
    "karla_receiver.idempotency": "keeping",
    "karla_receiver.inbox": "keeping",
    "karla_receiver.registration": "registration",
    "karla_receiver.testing": "testing",
    **{
        f"karla_receiver.adapters.{path.stem}": "adapters"
        for pattern in ("[!_]*.py", "[!_]*/")
        for path in (ROOT / "adapters").glob(pattern)
    },
}


def main() -> None:
    """Copy, build, check; exit with what is wrong."""
    stage()
    exit_if("pages that the navigation lacks", missing_in_navigation())
    shutil.rmtree(SITE, ignore_errors=True)
    ended = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"],
        cwd=ROOT,
        check=False,
    )
    if ended.returncode:
        sys.exit("the site has warnings")
    exit_if("dead links", dead_links())
    exit_if("names that the reference lacks", missing_in_reference())
    pages = sorted(SITE.rglob("*.html"))
    sys.stdout.write(f"{len(pages)} pages in {SITE.relative_to(ROOT)}, no warning, no dead link\n")


def exit_if(what: str, found: list[str]) -> None:
    """Exit with the list, if there is anything in it."""
    if found:
        sys.exit("\n  ".join([f"{what}:", *found]))


def stage() -> None:
    """Fill build/docs."""
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(DOCS, STAGED)
    for name, staged in PAGES.items():
        shutil.copyfile(ROOT / name, STAGED / staged)
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, STAGED / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    originals = {STAGED / staged: ROOT / name for name, staged in PAGES.items()}
    originals |= {STAGED / page.relative_to(DOCS): page for page in DOCS.rglob("*.md")}
    for page, original in originals.items():
        page.write_text(turned(page.read_text(), page, original))


def turned(text: str, page: Path, original: Path) -> str:
    """Return a page's text with its links turned to where the copies lie."""

    def turn(link: re.Match[str]) -> str:
        target, mark, anchor = link[1].partition("#")
        aimed = Path(os.path.normpath(original.parent / target))
        if not target or "://" in target:
            return link[0]
        if aimed.is_relative_to(DOCS):
            name = str(aimed.relative_to(DOCS))
        else:
            name = str(aimed.relative_to(ROOT))
        copied = STAGED / PAGES.get(name, name)
        if not copied.is_file():
            sys.exit(f"{original}: {link[1]} is not on the site: see PAGES and FOLDERS")
        return f"]({os.path.relpath(copied, page.parent)}{mark}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", turn, text)


def missing_in_navigation() -> list[str]:
    """Return the pages that no reader would find."""
    config = tomllib.loads((ROOT / "zensical.toml").read_text())
    listed = set(paths_in(config["project"]["nav"]))
    there = {str(page.relative_to(STAGED)) for page in STAGED.rglob("*.md")}
    return sorted(there - listed) + sorted(f"{page} (no such page)" for page in listed - there)


def paths_in(entries: list[dict[str, object]]) -> Iterator[str]:
    """Yield the pages of a navigation, however deep."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, list):
                yield from paths_in(value)
            else:
                yield str(value)


def missing_in_reference() -> list[str]:
    """Return the promised names without an entry, which is how an empty page shows."""
    return sorted(
        f"{module}.{name}"
        for module, page in REFERENCE.items()
        for name in promised(module)
        if not re.search(
            rf'id="karla_receiver[\w.]*\.{name}"', (SITE / f"reference/{page}.html").read_text()
        )
    )


def promised(module: str) -> list[str]:
    """Return the __all__ of a module."""
    tree = ast.parse(source_of(module))
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found = ast.literal_eval(node.value)
    if not found:
        sys.exit(f"{module} promises nothing")
    return found


def source_of(module: str) -> str:
    """Return the source of a module or package."""
    path = ROOT.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


class Links(HTMLParser):
    """Collects where a page leads, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take one element."""
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.targets.append(value)
            elif value and name in {"id", "name"}:
                self.anchors.add(value)


def dead_links() -> list[str]:
    """Return the links of the built site that lead nowhere; of external ones the form counts."""
    pages = {page: Links(page.read_text()) for page in SITE.rglob("*.html")}
    # 404.html is shown at any address, so its links are absolute.
    del pages[SITE / "404.html"]
    return sorted(
        f"{page.relative_to(SITE)}: {target}"
        for page, links in pages.items()
        for target in set(links.targets)
        if is_dead(page, target, pages)
    )


def is_dead(page: Path, target: str, pages: dict[Path, Links]) -> bool:
    """Return whether a link of a page leads nowhere."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return parts.scheme != "https" or "." not in parts.netloc
    aimed = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if aimed.is_dir():
        aimed /= "index.html"
    if not aimed.is_relative_to(SITE) or not aimed.is_file():
        return True
    # __skip is the theme's own.
    return (
        bool(parts.fragment)
        and aimed in pages
        and unquote(parts.fragment) not in pages[aimed].anchors
    )


if __name__ == "__main__":
    main()
