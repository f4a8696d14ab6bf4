"""What the pages name is there: files, links, options, verbs and targets of make."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from harvester.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]

PAGES = ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md",
         *sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")))  # fmt: skip

OURS = ("harvester", "tests", "benchmarks", "docs")
"""Folders whose files are named."""

OPTIONS_OF_OTHERS = re.compile(r"pip |python |make ")
"""Commands whose options are no verb's."""

OF_OTHER_TOOLS = "benchmarks/README.md"
"""A page that speaks of their options as well."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def quoted(page: str) -> list[str]:
    """What stands in backticks; of blocks the lines that are commands."""
    lines, *blocks = re.split(r"^```", text_of(page), flags=re.MULTILINE)
    found = re.findall(r"`([^`\n]+)`", "".join([lines, *blocks[1::2]]))
    return found + re.findall(r"^(?:\.venv/bin/)?((?:harvester|make) .*)$", "".join(blocks[::2]), re.MULTILINE)


@pytest.fixture(scope="module")
def options() -> set[str]:
    commands = [import_module(f"harvester.cli.{verb}").command for verb in VERBS]
    return {name for command in commands for param in command.params for name in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text_of(page)) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_ours_that_a_page_names_exists(page: str) -> None:
    files = {file.name for folder in OURS for file in (ROOT / folder).rglob("*.py")}
    names = [name.partition("::")[0] for name in quoted(page)]
    modules = [name for name in names if re.fullmatch(r"\w+\.py", name)]
    paths = [name for name in names if re.fullmatch(rf"(?:{'|'.join(OURS)})/[\w./-]*", name)]
    assert [name for name in modules if name not in files] == []
    assert [name for name in paths if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != OF_OTHER_TOOLS])
def test_every_option_that_a_page_names_is_one_of_a_verb(page: str, options: set[str]) -> None:
    parts = [part for part in quoted(page) if not OPTIONS_OF_OTHERS.match(part)]
    named = [name for part in parts for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*", part)]
    assert [name for name in named if name not in options | {"--help", "--version"}] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_and_target_that_a_page_names_exists(page: str) -> None:
    makefile = text_of("Makefile")
    verbs = [verb for part in quoted(page) for verb in re.findall(r"^harvester ([a-z]+)", part)]
    targets = [target for part in quoted(page) for target in re.findall(r"^make ([a-z-]+)", part)]
    assert [verb for verb in verbs if verb not in VERBS] == []
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
