"""The examples in the losses' docstrings are true, and every loss has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import dfkd.losses

TABLES = ("modules", "loss", "registry", "of_answers", "of_features", "of_images", "objective")
"""Of losses, and what weighs them."""
NAMES = [module.name for module in pkgutil.iter_modules(dfkd.losses.__path__)]
MODULES = [f"dfkd.losses.{name}" for name in NAMES if name not in TABLES]


@pytest.mark.parametrize("name", [*MODULES, "dfkd.losses.objective"])
def test_examples_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", MODULES)
def test_every_loss_has_an_example(name):
    module = importlib.import_module(name)
    for function in vars(module).values():
        if inspect.isfunction(function) and function.__module__ == name:
            public = not function.__name__.startswith("_")
            assert not public or ">>>" in (function.__doc__ or ""), function.__name__
