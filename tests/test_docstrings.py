"""Public names and their docstrings: whole or without sections, imperative, and defined once."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for room in ("dfkd", "generators") for path in (ROOT / room).rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in FILES}

Function = ast.FunctionDef | ast.AsyncFunctionDef
NOT_VERBS = {
    *("a", "an", "the", "this", "these", "that", "those", "its", "their", "every", "each", "any"),
    *(
        "all",
        "both",
        "some",
        "no",
        "one",
        "two",
        "several",
        "such",
        "what",
        "who",
        "which",
        "whose",
    ),
    *("where", "when", "whether", "how", "why", "whatever", "it", "he", "she", "they", "we", "you"),
    *("i", "in", "on", "of", "to", "by", "with", "for", "from", "as", "at", "and", "or", "not"),
    *("if", "true", "false", "none", "images", "names", "values", "files", "is", "are", "was"),
}
"""First words that no imperative begins with."""

VERBS_IN_S = {"pass", "guess", "process", "express", "compress", "address", "access", "discuss"}
"""The imperatives that end as plurals and third persons do."""

INHERITED = {"forward", "extra_repr", "state_dict", "load_state_dict", "train", "to"}
"""Methods that may leave their docstring to the base class."""


def public(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Yield public functions and classes with their dotted names, methods included."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}{node.name}.")


def decorators(node: Function) -> set[str]:
    """Return the last words of a function's decorators."""
    return {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list}


def parameters(node: Function) -> set[str]:
    """Return what a caller passes, without ``self`` and what begins with ``_``."""
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = {one.arg for one in named if one is not None} - {"self", "cls"}
    return {name for name in names if not name.startswith("_")}


def fields(node: ast.ClassDef) -> set[str]:
    """Return a class's annotated public fields, or its constructor's parameters."""
    named = {one.target for one in node.body if isinstance(one, ast.AnnAssign)}
    return {one.id for one in named if isinstance(one, ast.Name) and one.id[0] != "_"}


def constructor(node: ast.ClassDef) -> set[str]:
    """Return the parameters of ``__init__``, where a class has one."""
    made = [one for one in node.body if isinstance(one, Function) and one.name == "__init__"]
    return parameters(made[0]) if made else set()


def sections(docstring: str) -> dict[str, set[str]]:
    """Return the names that each ``Args:`` or ``Attributes:`` documents."""
    found = {}
    for title, text in re.findall(
        r"(?m)^(Args|Attributes):\n((?:(?: {4}.*)?(?:\n|$))+)", docstring
    ):
        entries = re.findall(r"(?m)^ {4}(\*{0,2}[\w, *]+?)(?: \([^)]*\))?:", text)
        found[title] = {name.strip(" *") for entry in entries for name in entry.split(",")}
    return found


def left_out(node: ast.stmt) -> set[str]:
    """Return what a docstring's section should name and does not, or names and should not."""
    documented = sections(ast.get_docstring(node) or "")
    if not documented:
        return set()
    if isinstance(node, Function):
        return documented.get("Args", set()) ^ parameters(node)
    wanted = constructor(node) if "Args" in documented else fields(node)
    named = documented.get("Args", documented.get("Attributes", set()))
    # A class may say more of itself than its annotations do, but leave none of them out.
    return wanted - named if "Attributes" in documented else wanted ^ named


def incomplete() -> dict[str, list[str]]:
    found = defaultdict(list)
    for path, tree in TREES.items():
        for name, node in public(tree.body):
            if missing := left_out(node):
                found[path].append(f"{name}: {', '.join(sorted(missing))}")
    return found


def imperative(line: str) -> bool:
    """Tell whether a docstring's first line begins with a verb and ends as a sentence."""
    first = re.match(r"[A-Za-z]+(?:-[a-z]+)?(?=[ .])", line)
    if not first or not line.endswith("."):
        return False
    word = first[0]
    plural = word.endswith("s") and word.lower() not in VERBS_IN_S
    return word[0].isupper() and word.lower() not in NOT_VERBS and not plural


def spoken_wrongly() -> dict[str, list[str]]:
    found = defaultdict(list)
    for path, tree in TREES.items():
        for name, node in public(tree.body):
            if isinstance(node, ast.ClassDef) or decorators(node) & {"property", "cached_property"}:
                continue
            inherited = "." in name and name.rpartition(".")[2] in INHERITED
            text = (ast.get_docstring(node) or "").split("\n")[0]
            if (
                not imperative(text)
                and not (inherited and not text)
                and "overload" not in decorators(node)
            ):
                found[path].append(f"{name}: {text}")
    return found


def twins() -> dict[str, list[str]]:
    """Return public names that several modules define, with the modules."""
    homes = defaultdict(set)
    for path, tree in TREES.items():
        for node in tree.body:
            names = []
            if isinstance(node, Function | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            for name in names:
                if not name.startswith("_"):
                    homes[name].add(path)
    return {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1}


@pytest.mark.parametrize("path", TREES)
def test_a_section_names_all_parameters(path):
    assert not incomplete()[path]


@pytest.mark.parametrize("path", TREES)
def test_the_first_line_of_a_function_is_an_imperative(path):
    assert not spoken_wrongly()[path]


def test_a_public_name_is_defined_once():
    assert not twins()


@pytest.mark.parametrize(
    "line",
    [
        "The sum of all.",
        "Images N x C.",
        "``count`` images.",
        "Returns it.",
        "return it.",
        "Add it",
    ],
)
def test_other_first_lines_are_seen(line):
    assert not imperative(line)
    assert imperative("Pass it on.")


def test_what_a_section_leaves_out_is_seen():
    source = '''
def f(a, b, *c, d=1, **e):
    """Do.

    Args:
        a, b: two.
        *c: more.
        {rest}
    """
'''
    for rest, missing in (("d: one.", {"e"}), ("d: one.\n        **e: all.", set())):
        (node,) = ast.parse(source.replace("{rest}", rest)).body
        assert left_out(node) == missing
