"""What the documents name exists, and the commands that they show are commands."""

import re
import shlex
from pathlib import Path
from string import Template

import pytest

from dfkd.cli.entry import COMMANDS, _parse
from dfkd.distillation.knowledge import KINDS
from dfkd.recipes.methods import METHODS
from dfkd.recipes.schemes import SCHEMES

ROOT = Path(__file__).parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "assets" / "RESULTS.md"
PAGES = (README, RESULTS, ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md")
SHOWN = re.compile(rf"\bdfkd ((?:{'|'.join(COMMANDS)}) .+)")


def page_commands(page: Path) -> list[list[str]]:
    """The words of the ``dfkd`` lines in a page's blocks of code, its variables put in.

    Those within a sentence count where they name a model.
    """
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.S | re.M)
    code = "".join(blocks).replace("\\\n", " ")
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
    **{page.name: page_commands(page) for page in (README, RESULTS, ROOT / "ARCHITECTURE.md")},
    **{path.name: example_commands(path) for path in sorted((ROOT / "examples").glob("*.py"))},
}


@pytest.mark.parametrize("source", COMMANDS_SHOWN)
def test_every_command_that_is_shown_can_be_run(source):
    for words in COMMANDS_SHOWN[source]:
        _parse(words)


def test_commands_are_found_and_none_takes_anothers_place():
    assert min(len(COMMANDS_SHOWN[page.name]) for page in (README, RESULTS)) >= 5
    shown = [words for page in (README, RESULTS) for words in COMMANDS_SHOWN[page.name]]
    taken = [words[words.index("--out") + 1] for words in shown if "--out" in words]
    assert len(set(taken)) == len(taken) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert all((page.parent / link).exists() for link in links)


@pytest.mark.parametrize(
    ("heading", "column", "wanted"),
    [("Methods", 1, METHODS), ("Knowledge", 2, KINDS), ("Schemes", 1, SCHEMES)],
)
def test_the_tables_are_the_programs(heading, column, wanted):
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}")[1]
    table = section.split("|---|", 1)[1].split("\n\n")[0]
    cells = [line.split("|")[column] for line in table.splitlines()[1:]]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(wanted)
