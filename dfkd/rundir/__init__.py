"""A run's directory: checked before any work, written whole file by whole file."""

from dfkd.rundir.directory import create, discard, prepare
from dfkd.rundir.entries import COMPARISON, RUN, Layout
from dfkd.rundir.records import (
    command_line,
    peak_memory_bytes,
    provenance,
    read_json,
    write_json,
)

__all__ = [
    "COMPARISON",
    "RUN",
    "Layout",
    "command_line",
    "create",
    "discard",
    "peak_memory_bytes",
    "prepare",
    "provenance",
    "read_json",
    "write_json",
]
