"""What every Markdown page of the repository promises, without running anything."""

import os
import re
import subprocess
import sys
import tomllib
from functools import cache

import pytest
import typer
from pydantic import BaseModel

from genepool_client.commands.cli import app as client
from genepool_client.site.folder import SiteConfig
from genepool_server.commands.cli import app as server
from genepool_server.config import ServerConfig
from tests.docs.generated import GENERATED
from tests.docs.transcripts import ROOT, STORY, steps

SECTIONS = ["Context", "Decision", "Consequences", "Figures"]


@cache
def pages():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).exists()]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_no_link_of_a_page_leads_nowhere():
    hooks = (ROOT / "docs" / "hooks.py").read_text(encoding="utf-8")
    lost = []
    for page in pages():
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", _prose(page)):
            path = (page.parent / target).resolve()
            # the site makes some pages from ones that lie elsewhere, or from the code; the strict build checks these
            made = (
                path.is_relative_to(ROOT / "docs" / "reference") or f'"{os.path.relpath(path, ROOT / "docs")}"' in hooks
            )
            if not path.exists() and not made:
                lost.append(f"{page.relative_to(ROOT)}: {target}")
    assert lost == []


def test_every_path_that_a_page_names_exists():
    named = re.compile(r"`((?:protocol|server|client|tests|docs|deploy)/[\w./{},-]+)`")
    lost = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in pages()
        if page.name != "CHANGELOG.md"  # which tells of what was
        for braced in named.findall(page.read_text(encoding="utf-8"))
        for path in _expanded(braced)
        if not (ROOT / path).exists()
    ]
    assert lost == []


def _expanded(path):
    """`a/{b,c}` as the shell reads it."""
    head, brace, rest = path.partition("{")
    if not brace:
        return [path]
    choices, _, tail = rest.partition("}")
    return [f"{head}{choice}{tail}" for choice in choices.split(",")]


def _prose(page):
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda page: page.stem[:4])
def test_a_decision_has_a_number_a_title_and_its_sections_in_order(page):
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {int(page.stem[:4])}\. [^\n]+\n\n## ", text)
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections[:3] == SECTIONS[:3]
    assert sections in (SECTIONS, SECTIONS[:3])


def test_decisions_are_numbered_without_a_gap_and_all_in_the_index():
    names = sorted(page.name for page in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\((0\d{3}-[^)]*\.md)\)", index)) == names


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: page.name)
def test_a_generated_page_is_what_the_code_says(page):
    assert page.read_text(encoding="utf-8") == GENERATED[page](), "run: python -m tests.docs --generated"


def test_every_setting_says_what_it_is_for():
    tables: list[type[BaseModel]] = [ServerConfig, SiteConfig]
    for settings in tables:
        for name, field in settings.model_fields.items():
            assert field.description, f"{settings.__name__}.{name}"
            inner = field.annotation
            if settings is not SiteConfig and isinstance(inner, type) and issubclass(inner, BaseModel):
                tables.append(inner)


def _commands(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, f"{path} {name}")


def test_every_command_that_a_page_names_exists():
    known = {
        path
        for name, app in (("genepool", client), ("genepool-server", server))
        for path in _commands(typer.main.get_command(app), name)
    }
    groups = {path for path in known if any(other.startswith(f"{path} ") for other in known)}
    for page in pages():
        for words in re.findall(r"(?<![\w./-])(genepool(?:-server)?(?: [a-z][a-z-]*)+)", _code(page)):
            path = words.split()[0]
            for word in words.split()[1:]:
                if path not in groups:
                    break
                path = f"{path} {word}"
            assert path in known, f"{page.relative_to(ROOT)}: {words}"


def _code(page):
    """The code of a page, blocks and spans; of what is run only the commands."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(
        r"```console\n(.*?)```",
        lambda run: "".join(f"`{step.command}`\n" for step in steps(run[1])),
        text,
        flags=re.DOTALL,
    )
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


def test_the_six_commands_of_the_readme_are_six():
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert sum(len(steps(block)) for block in blocks) == 6


def test_every_page_with_commands_to_run_is_in_the_story():
    shown = {page for page in pages() if "```console" in page.read_text(encoding="utf-8")}
    assert shown == set(STORY)


def test_the_site_is_built_without_a_warning_and_asks_nobody_else_for_anything(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    html = sorted((tmp_path / "site").rglob("*.html"))
    assert len(html) > 100
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*//'
    )
    assert [page.name for page in html if fetched.search(page.read_text(encoding="utf-8"))] == []


def test_the_dependencies_of_the_site_are_in_the_group_docs():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert {"include-group": "docs"} in groups["dev"]
    assert any(line.startswith("mkdocs-material") for line in groups["docs"])
