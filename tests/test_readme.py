"""What the documents name exists, and what they show runs."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

import dfkd
from dfkd.cli.entry import COMMANDS, _parse
from dfkd.losses.registry import KNOWLEDGE
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES

ROOT = Path(dfkd.__file__).parents[1]
README, METHODS_PAGE = ROOT / "README.md", ROOT / "assets" / "METHODS.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = {
    str(path.relative_to(ROOT)): path
    for folder in (ROOT, ROOT / "assets", ROOT / "examples")
    for path in sorted(folder.glob("*.md"))
}
SHOWN = re.compile(rf"\bdfkd ((?:{'|'.join(COMMANDS)}) .+)")


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    """The blocks of code on a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)


def page_commands(page: Path) -> list[list[str]]:
    """The words of the ``dfkd`` lines in a page's blocks of code, its variables put in.

    Those within a sentence count where they name a model.
    """
    text = page.read_text(encoding="utf-8")
    code = "".join(blocks(page)).replace("\\\n", " ")
    within = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.S | re.M)
    spoken = re.findall(r"`(dfkd (?:compare|distill|invert) (?!--)[^`]+)`", within)
    code += "".join(" ".join(words.split()) + "\n" for words in spoken)
    variables = dict(re.findall(r"^(\w+)=[\"'](.*?)[\"'] *(?:#.*)?$", code, re.M))
    for _ in variables:  # one may hold another
        code = Template(code).safe_substitute(variables)
    return [shlex.split(words, comments=True) for words in SHOWN.findall(code)]


def example_commands(example: Path) -> list[list[str]]:
    """Those that stand between double backticks with their arguments."""
    quoted = re.findall("``(.+?)``", example.read_text(encoding="utf-8"), re.S)
    lines = (" ".join(words.split()) for words in quoted)
    return [shlex.split(words) for line in lines for words in SHOWN.findall(line)]


COMMANDS_SHOWN = {
    **{name: page_commands(page) for name, page in PAGES.items()},
    **{path.name: example_commands(path) for path in sorted((ROOT / "examples").glob("*.py"))},
}


@pytest.mark.parametrize("source", COMMANDS_SHOWN)
def test_every_command_that_is_shown_can_be_run(source):
    for words in COMMANDS_SHOWN[source]:
        _parse(words)


def test_commands_are_found_and_none_takes_anothers_directory():
    assert min(len(COMMANDS_SHOWN[name]) for name in ("README.md", "assets/RESULTS.md")) >= 5
    shown = [words for name in PAGES for words in COMMANDS_SHOWN[name]]
    taken = [words[words.index("--out") + 1] for words in shown if "--out" in words]
    taken = [name for name in taken if name.startswith("runs/")]
    assert len(set(taken)) == len(taken) > 5


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_file_of_ours_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:dfkd|generators|tests|assets|examples)/[\w/.]+)`", text))
    assert not {n for n in named if "NAME" not in n and not (ROOT / n).exists()}


def test_a_newcomer_finishes_the_readme():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    counted = dict(
        zip(("methods", "losses", "schemes"), (METHODS, KNOWLEDGE, SCHEMES), strict=True)
    )
    for noun, registry in counted.items():
        assert f"**{len(registry)} {noun}**" in text


def test_the_python_of_the_readme_runs(tmp_path):
    (code,) = blocks(README, "python")
    assert "minutes=4" in code
    program = code.replace("minutes=4", "steps=2").replace('"default"', '"drawings"')
    program += "assert result.plot().axes and not result.student.training\n"
    finished = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert 0 <= float(finished.stdout.split()[-1]) <= 1
    assert (tmp_path / "runs" / "mine" / "student.safetensors").exists()


def test_the_tables_are_the_programs():
    filled = runpy.run_path(str(ROOT / "assets" / "write_tables.py"))["filled"]
    page = METHODS_PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run: make tables"
    for registry in (METHODS, KNOWLEDGE, SCHEMES):
        assert all(f"\n| `{name}` |" in page for name in registry)
