"""Free memory, from whatever a system says of it."""

import sys

import pytest
import torch

import dfkd
from dfkd.runs.prepare import told_sizes
from dfkd.training import memory
from support.methods import make_student, make_teacher, small

CPU = torch.device("cpu")
MEMINFO = "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 3000 kB\nHugePages_Total: 0\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of files: what is written there is what it says."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    for folder in (proc / "self", groups / "memory"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_GROUPS", groups)
    monkeypatch.setattr(memory, "_of_process", lambda: sys.maxsize)
    (proc / "meminfo").write_text(MEMINFO)
    return tmp_path


def test_what_caches_hold_is_available(system):
    assert memory.free_bytes(CPU) == 3000 * 1024


@pytest.mark.parametrize(
    ("folder", "limit", "used", "inactive"),
    [
        ("cgroup", "memory.max", "memory.current", "inactive_file"),
        ("cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_containers_limit_counts(system, folder, limit, used, inactive):
    (system / folder / limit).write_text("1000000\n")
    (system / folder / used).write_text("700000\n")
    assert memory.free_bytes(CPU) == 300_000
    (system / folder / "memory.stat").write_text(f"anon 3\n{inactive} 50000\nodd\n")
    assert memory.free_bytes(CPU) == 350_000
    (system / folder / used).write_text("2000000\n")
    assert memory.free_bytes(CPU) == 0
    (system / folder / limit).write_text("max\n")
    assert memory.free_bytes(CPU) == 3000 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_processs_own_limit_counts(monkeypatch):
    import resource

    assert memory._of_process() == sys.maxsize
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 50, 1 << 50))
    assert 0 < memory._of_process() < 1 << 50


def test_systems_without_such_files_have_an_answer(system, monkeypatch):
    (system / "proc" / "meminfo").unlink()
    names = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(memory.os, "sysconf", lambda name: names[name])
    assert memory.free_bytes(CPU) == 1000 * 4096 // 2

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory.os, "sysconf", unknown)
    assert memory.free_bytes(CPU) == memory._UNKNOWN
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.free_bytes(CPU) == memory._UNKNOWN
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert memory.free_bytes(CPU) == memory._UNKNOWN


def test_damaged_files_are_none(system):
    (system / "proc" / "meminfo").write_bytes(b"\xff\xfeMemAvailable: x\n")
    (system / "cgroup" / "memory.max").write_bytes(b"\xff")
    assert memory.free_bytes(CPU) > 0


def test_what_did_not_fit_is_said(monkeypatch):
    monkeypatch.setattr("dfkd.teacher.recompute.free_bytes", lambda device: 100_000)
    monkeypatch.setattr("dfkd.runs.prepare.free_bytes", lambda device: 100_000)
    result = dfkd.distill(
        make_teacher(), make_student(), recipe=small("redraw"), steps=1, device="cpu",
        batch_size="auto",
    )  # fmt: skip
    (line,) = [line for line in result.figures["decisions"] if line.startswith("memory")]
    assert line.endswith("0.0 GB free")
    assert "batch 16 -> 4" in line
    plan = small("redraw")
    assert told_sizes(plan, plan, CPU) == ""
