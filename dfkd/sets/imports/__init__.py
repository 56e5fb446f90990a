"""Datasets of other tools, as native sets; nothing that a source says is trusted."""

from dfkd.sets.imports.run import import_set

__all__ = ["import_set"]
