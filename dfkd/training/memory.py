"""How much memory is free: what the system can give, and what a limit leaves of it."""

import ctypes
import os
import sys
from pathlib import Path

import torch

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_UNKNOWN = 2 * 2**30
"""Bytes that are counted on where no system call tells."""


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on ``device`` now, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        taken = torch.mps.driver_allocated_memory()
        return max(0, int(torch.mps.recommended_max_memory()) - int(taken))
    return max(0, min(_available(), _of_group(), _of_process()))


def _available() -> int:
    """What the system could give without swapping: caches of files count, they give way."""
    found = _meminfo().get("MemAvailable")
    if found is not None:
        return found
    if sys.platform == "win32":
        return _of_windows()
    try:
        # Mac: no call without a tool tells what is free. Half of all is not far off.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN


def _meminfo() -> dict[str, int]:
    try:
        lines = (_PROC / "meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeError):
        return {}
    rows = [line.replace(":", " ").split() for line in lines]
    return {row[0]: 1024 * int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _of_windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "a", "b", "c", "d")),
            ("extended", ctypes.c_ulonglong),
        )

    status = Status()
    status.length = ctypes.sizeof(status)
    library = getattr(ctypes, "windll", None)
    known = library is not None and library.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available) if known else _UNKNOWN


def _of_group() -> int:
    """What the limit of a container leaves; a cache of files within it gives way."""
    room = sys.maxsize
    for folder, limit, used in (
        (_GROUPS, "memory.max", "memory.current"),
        (_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        most, now = _number(folder / limit), _number(folder / used)
        if most is not None and now is not None:
            room = min(room, most - now + _inactive(folder / "memory.stat"))
    return room


def _inactive(path: Path) -> int:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    except (OSError, UnicodeError):
        return 0
    found = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    return found.get("total_inactive_file", found.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        return None
    return int(text) if text.isdigit() else None  # "max": no limit


def _of_process() -> int:
    """What the process's own limit of address space (``ulimit -v``) leaves."""
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = (_PROC / "self" / "statm").read_text(encoding="ascii").split()[0]
        used = int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, AttributeError, OSError, ValueError, IndexError):
        return sys.maxsize
    return sys.maxsize if most == resource.RLIM_INFINITY else most - used
