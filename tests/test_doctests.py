"""The examples in the losses' docstrings are true, and every loss has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import dfkd.losses

MODULES = [f"dfkd.losses.{module.name}" for module in pkgutil.iter_modules(dfkd.losses.__path__)]


@pytest.mark.parametrize("name", MODULES)
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
