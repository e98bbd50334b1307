"""The repository is complete: its files refer only to its own pages, and every link has a target."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In two pieces, so that this file doesn't refer to them either.
ELSEWHERE = [
    "DESIGN" + ".md",
    "shared" + "/",
    "redis" + "-lua.md",
    "binance" + "-usdm.md",
    "field" + "-lessons",
    "layout" + ".md",
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def files() -> list[Path]:
    """Every file that git tracks or would track; in a copy without git, every file of the source folders."""
    asked = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        folders = ("gate", "lua", "tests", "docs", "benchmarks", "scripts")
        paths = [*ROOT.glob("*.md"), *(path for each in folders for path in (ROOT / each).rglob("*"))]
    return [path for path in paths if path.is_file() and path.suffix != ".pyc"]


def test_no_file_refers_to_what_is_not_here() -> None:
    found = [
        f"{path.relative_to(ROOT)} names {word}"
        for path in files()
        for word in ELSEWHERE
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert found == []


def test_every_page_that_a_file_names_is_there() -> None:
    named = {
        (path, page)
        for path in files()
        if path.suffix in (".py", ".lua", "")
        for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text("utf-8", errors="replace"))
    }
    assert named
    assert [f"{path.relative_to(ROOT)}: {page}" for path, page in named if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in {
                _anchor(title) for title in re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            }


def _anchor(title: str) -> str:
    """The link anchor of a heading: small letters, hyphens for spaces, no punctuation."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_every_page_is_in_the_index() -> None:
    for folder in (ROOT / "docs", ROOT / "docs" / "decisions"):
        index = (folder / "README.md").read_text("utf-8")
        pages = [path.name for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
        assert [page for page in pages if f"]({page})" not in index] == []
