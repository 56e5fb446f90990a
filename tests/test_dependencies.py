"""What the package imports is what ``pyproject.toml`` requires, both ways."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"dfkd", "generators"}
USED_BY_TORCH = {"tensorboard"}
"""``torch.utils.tensorboard`` imports it; torch does not require it."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(lines: list[str]) -> set[str]:
    return {canonical(re.split(r"[<>=!~;\[ ]", line)[0]) for line in lines}


def imported() -> set[str]:
    """Distributions whose modules a file of the package imports, at the top or in a function."""
    modules: set[str] = set()
    for room in OWN:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    modules.add(node.module.split(".")[0])
    known = packages_distributions()
    others = modules - OWN - sys.stdlib_module_names
    return {canonical(known.get(module, [module])[0]) for module in others}


def test_what_is_imported_is_required_and_what_is_required_imported():
    extras = PROJECT["optional-dependencies"]
    optional = required([one for name in extras if name != "dev" for one in extras[name]])
    needed = required(PROJECT["dependencies"])
    assert imported() - optional - needed == set(), "imported and not required"
    assert needed - USED_BY_TORCH - imported() == set(), "required and imported by nothing"
    assert {"kornia", "scipy", "matplotlib"} <= imported()
