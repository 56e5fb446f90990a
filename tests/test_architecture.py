"""Who may import whom. Imports are read, not run, so lazy ones count as well."""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAP = ROOT / "ARCHITECTURE.md"

SPEAKERS = ("dfkd.cli", "dfkd.report")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = [path for room in ("dfkd", "generators") for path in (ROOT / room).rglob("*.py")]
TREES = {module_name(path): ast.parse(path.read_text()) for path in FILES}
PACKAGES = {module_name(path) for path in FILES if path.name == "__init__.py"}


def run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but what stands there for type checkers alone."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from run_time(child)


def imported(name: str, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Modules that ``nodes`` import, by their full names."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")[: None if name in PACKAGES else -1]
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            found = [submodule for submodule in submodules if submodule in TREES]
            yield from found
            if len(found) < len(submodules):
                yield base


IMPORTS = {name: set(imported(name, ast.walk(tree))) for name, tree in TREES.items()}


def rooms() -> dict[str, int]:
    """Folders and files of the map's tree by their dotted names, bottom to top."""
    section = MAP.read_text(encoding="utf-8").split("\n## Rooms\n")[1].split("\n## ")[0]
    found: dict[str, int] = {}
    path: list[str] = []
    for indent, name in re.findall(r"(?m)^( *)([a-z_]+(?:/|\.py))(?: |$)", section):
        path = [*path[: len(indent) // 2], name.strip("/").removesuffix(".py")]
        found[".".join(path)] = len(found)
    return found


ROOMS = rooms()


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def inside(*rooms: str) -> list[str]:
    return sorted(name for name in TREES if any(within(name, room) for room in rooms))


def reach(name: str) -> set[str]:
    """Everything of ours that comes along when ``name`` is imported."""
    seen: set[str] = set()
    waiting = {name}
    while waiting:
        seen |= waiting
        waiting = set().union(*(IMPORTS.get(module, ()) for module in waiting)) - seen
    return seen - {name}


def foreign(name: str, *allowed: str) -> set[str]:
    """Imports of ``name`` outside the standard library and ``allowed``."""
    return {
        module
        for module in IMPORTS[name]
        if module.split(".")[0] not in sys.stdlib_module_names
        and not any(within(module, room) for room in allowed)
    }


def test_generators_know_torch_only():
    for name in inside("generators"):
        assert not foreign(name, "torch", "generators"), name


def test_losses_know_torch_errors_and_the_type_of_statistics():
    for name in inside("dfkd.losses"):
        found = foreign(name, "torch", "dfkd.losses", "dfkd.errors", "dfkd.teacher.statistics")
        assert not found, name


def test_losses_take_from_statistics_nothing_but_the_type():
    for name in inside("dfkd.losses"):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.ImportFrom) and node.module == "dfkd.teacher.statistics":
                assert [alias.name for alias in node.names] == ["LayerStatistics"], name


def test_methods_never_import_each_other():
    for name in inside("dfkd.synthesis.methods"):
        others = {
            m
            for m in IMPORTS[name]
            if within(m, "dfkd.synthesis.methods") and m != "dfkd.synthesis.methods"
        }
        # A method may spread over files: x and x_settings.
        assert not {m for m in others if not m.startswith(name + "_")}, name


def test_the_engine_knows_the_protocols_only():
    for name in inside("dfkd.training.engine"):
        assert not {
            module
            for module in reach(name)
            if within(module, "dfkd.synthesis.methods")
            or within(module, "dfkd.distillation.schemes")
        }


def test_only_the_runtime_knows_fabric():
    for name, modules in IMPORTS.items():
        fabric = {m for m in modules if m.split(".")[0] in ("lightning_fabric", "lightning")}
        assert not fabric or name == "dfkd.training.distributed", name


def room(name: str) -> str:
    """The folder or file of the map that ``name`` is in; "" for what is on no map."""
    while name and name not in ROOMS:
        name = name.rpartition(".")[0]
    return "" if name == "dfkd" else name


@pytest.mark.parametrize("name", sorted(set(TREES) - {"dfkd", "dfkd.__main__"}))
def test_no_file_imports_from_a_room_above_its_own(name):
    """What is read first knows least. A folder may use those within it, and they may use it."""
    own = room(name)
    ours = {m for m in IMPORTS[name] if m.split(".")[0] in ("dfkd", "generators")} - {"dfkd"}
    others = {m for m in ours if not within(room(m), own) and not within(own, room(m))}
    assert not {m for m in others if ROOMS[room(m)] > ROOMS[own]}


def test_every_file_is_on_the_map_and_every_room_of_the_map_exists():
    assert not {name for name in set(TREES) - {"dfkd", "dfkd.__main__"} if not room(name)}
    assert not set(ROOMS) - set(TREES)


def test_no_circle_between_files():
    waiting, seen = dict(IMPORTS), set()
    while ready := [name for name, needs in waiting.items() if not (needs & set(waiting)) - {name}]:
        for name in ready:
            del waiting[name]
            seen.add(name)
    assert not waiting, sorted(waiting)


def test_nothing_below_the_command_line_and_the_report_prints():
    for name in set(TREES) - set(inside(*SPEAKERS)):
        for node in ast.walk(TREES[name]):
            printing = isinstance(node, ast.Name) and node.id == "print"
            stream = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.stdout"
            assert not printing, f"{name}:{node.lineno} prints"
            assert not stream, f"{name}:{node.lineno} writes to sys.stdout"
        assert "rich" not in {module.split(".")[0] for module in IMPORTS[name]}, name


def test_the_reader_of_imports_understands_every_form():
    source = (
        "import a.b\nfrom .spec import ImageSpec\nfrom dfkd import teacher\nfrom . import spec\n"
    )
    found = set(imported("dfkd.teacher.tapped", ast.walk(ast.parse(source))))
    assert found == {"a.b", "dfkd.teacher", "dfkd.teacher.spec"}


def test_no_module_takes_the_name_of_what_a_user_imports():
    """Once it is imported, ``dfkd.NAME`` would be the module."""
    import dfkd

    assert not {name for name in dfkd.__all__ if f"dfkd.{name}" in TREES}


TESTS = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_tests_share_through_support_alone(path):
    """Text is read, not syntax: the scripts that tests write for child processes count as well."""
    found = re.findall(r"(?m)^\s*(?:from|import) +((?:test_|conftest)\w*)", path.read_text())
    assert not found


def test_tests_lie_in_a_folder_of_the_package_or_concern_all_of_it():
    folders = {path.parent.name for path in TESTS} - {"tests", "support"}
    rooms = {path.parent.name for path in FILES}
    assert not folders - rooms
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names))  # without ``__init__.py`` pytest knows them by these
