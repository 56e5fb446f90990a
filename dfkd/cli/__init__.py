"""The command line: thin over the Python API, and quick to say what it can do."""

from dfkd.cli.entry import main

__all__ = ["main"]
