"""A run's directory: what is refused before the work, and what is removed when it starts."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dfkd import cli
from dfkd.comparison.page import write_comparison
from dfkd.errors import DfkdError
from dfkd.loading import save_artefact
from dfkd.loading.uri import local_paths
from dfkd.report.log import MetricsLog
from dfkd.report.page import write_page
from dfkd.runs import run_directory, run_entries, run_records
from dfkd.training import checkpoint
from dfkd.training.files import replacing, write_text
from support.loading import SPEC, small

MANIFEST = run_records.provenance(["dfkd"], {}) | {"recipe": {}, "teacher_hash_before": "a"}
RECORD = run_records.provenance(["dfkd"], {}) | {"settings": {}, "teacher_hash": "a"}
ROW = '{"step": 3, "seconds": 0.5, "kd": 0.1}\n'
EVENTS = "tb/events.out.tfevents.1.host.2.0"


def fill(folder: Path, *names: str, **texts: str) -> Path:
    """Files of those names; a text for one of them by its name with underscores."""
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(texts.get(name.replace(".", "_").replace("/", "_"), "x"))
    return folder


def a_run(folder: Path, *more: str) -> Path:
    texts = {"manifest_json": json.dumps(MANIFEST), "metrics_jsonl": ROW}
    names = ("manifest.json", "result.json", "metrics.jsonl", "report.html", "grid.png", EVENTS)
    return fill(folder, *names, "student.safetensors", "checkpoint/last.pt", *more, **texts)


def killed(folder: Path, *more: str) -> Path:
    names = ("metrics.jsonl", EVENTS, "checkpoint/last.pt", "checkpoint/last.pt.tmp")
    return fill(folder, *names, *more, metrics_jsonl=ROW)


def compared(folder: Path, *more: str) -> Path:
    names = ("comparison.json", "comparison.md", "comparison.html", *more)
    fill(folder, *names, comparison_json=json.dumps(RECORD))
    a_run(folder / "default" / "seed_0")
    killed(folder / "kd+250_at" / "seed_-3")
    (folder / "nayer" / "seed_1").mkdir(parents=True)
    return folder


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """Every path below ``folder`` with its content, where a link points, or None."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


# Ours


OURS: dict[str, tuple[Callable[[Path], Path], run_entries.DirectoryLayout]] = {
    "a run": (a_run, run_entries.RUN),
    "pictures": (lambda out: a_run(out, "images/00000_class7.png"), run_entries.RUN),
    "killed": (killed, run_entries.RUN),
    "killed before the first row": (
        lambda out: fill(out, "metrics.jsonl", EVENTS, metrics_jsonl=""), run_entries.RUN
    ),
    "killed in a row": (
        lambda out: fill(out, "metrics.jsonl", EVENTS, metrics_jsonl=ROW + '{"st'), run_entries.RUN
    ),
    "killed while a file was written": (
        lambda out: killed(out, "tmpab12_xyz.part", "result.tmp", "metrics.jsonl.tmp",
                           "student.safetensors.0123abc_.part"),
        run_entries.RUN,
    ),
    "a comparison": (compared, run_entries.COMPARISON),
    "a comparison just begun": (
        lambda out: fill(out, "comparison.json", comparison_json=json.dumps(RECORD)),
        run_entries.COMPARISON,
    ),
    "nothing": (lambda out: out.mkdir() or out, run_entries.RUN),
}  # fmt: skip


@pytest.mark.parametrize("kind", OURS)
def test_what_a_run_of_ours_wrote_is_replaced(kind: str, tmp_path: Path) -> None:
    make, layout = OURS[kind]
    out, before = make(tmp_path / "out"), snapshot(tmp_path)
    assert run_directory.prepare(out, overwrite=True, layout=layout) == out
    run_directory.create(out, resume=True)
    assert snapshot(tmp_path) == before
    inode = out.stat().st_ino
    run_directory.create(out, overwrite=True, layout=layout)
    assert list(out.iterdir()) == []
    assert out.stat().st_ino == inode
    if before != {"out": None}:
        make(shutil.move(out, tmp_path / "old") and out)
        with pytest.raises(DfkdError, match="add `overwrite`"):
            run_directory.prepare(out, layout=layout)
        with pytest.raises(DfkdError, match="not empty any more"):
            run_directory.create(out, overwrite=False, layout=layout)
        assert len(snapshot(out)) == len(before) - 1


QUICK = ("--set", "alternation.warmup_updates=1")
STUDENT = "dfkd.networks:vgg?widths=(4,8)&convolutions=1"
DIGITS = "bundled:digits_vgg"
COMMANDS = {
    "distill": (DIGITS, STUDENT, "--method", "drawings", "--steps", "1", *QUICK),
    "invert": (DIGITS, "--classes", "1", "--count", "2", "--steps", "2"),
    "compare": (DIGITS, STUDENT, "--methods", "drawings", "--steps", "1", "--seeds", "0",
                "--curve", "1", "--eval", DIGITS, *QUICK),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_know_their_own_directories_again(command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [command, *COMMANDS[command], "--out", str(out)]
    assert cli.main(words) in (0, 3)  # 3: who takes one step is at chance
    other = run_entries.RUN if command == "compare" else run_entries.COMPARISON
    with pytest.raises(DfkdError, match="does not look like one"):
        run_directory.prepare(out, overwrite=True, layout=other)
    assert cli.main([*words, "--overwrite"]) in (0, 3)
    (out / "notes.txt").write_text("mine")
    before = snapshot(out)
    assert cli.main([*words, "--overwrite"]) == 2
    assert snapshot(out) == before


# Not ours


def extension(out: Path) -> Path:
    return fill(out, "manifest.json", "src/thesis.txt", manifest_json='{"manifest_version": 3}')


def linked(out: Path, name: str, target: str = "victim") -> Path:
    place = a_run(out) / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(out.parent / target)
    return out


FOREIGN = {
    "a browser extension": (extension, r"does not look like one \(src is in it\)"),
    "an extension of known names": (
        lambda out: fill(out, "manifest.json", "report.html", manifest_json="{}"),
        "does not look like one$",
    ),
    "JSON of depth": (
        lambda out: fill(out, "manifest.json", manifest_json="[" * 10**5), "does not look like one"
    ),
    "another's log": (
        lambda out: fill(out, "metrics.jsonl", metrics_jsonl='{"epoch": 1}\n'), "not look like one"
    ),
    "an empty log beside a report": (
        lambda out: fill(out, "metrics.jsonl", "report.html", metrics_jsonl=""), "not look like one"
    ),
    "a checkpoint alone": (lambda out: fill(out, "checkpoint/last.pt"), "does not look like one"),
    "a thesis": (lambda out: fill(out, "thesis.tex"), r"thesis.tex is in it"),
    "a teacher's weights alone": (lambda out: fill(out, "student.safetensors"), "not look like"),
    "a run with notes": (lambda out: a_run(out, "notes.txt"), "out/notes.txt is something else"),
    "notes inside": (lambda out: a_run(out, "tb/notes.txt"), "tb/notes.txt is something else"),
    "notes beside checkpoints": (lambda out: a_run(out, "checkpoint/my.pt"), "checkpoint/my.pt"),
    "own pictures": (lambda out: a_run(out, "images/cat.png"), "images/cat.png"),
    "a directory of a file's name": (lambda out: a_run(out, "grid.png.tmp/x"), "grid.png.tmp"),
    "a directory in a run": (lambda out: a_run(out, "src/a.py"), "src"),
    "an empty directory": (lambda out: (a_run(out) / "src").mkdir() or out, "src"),
    "a run in a run": (lambda out: a_run(a_run(out) / "seed_0").parent, "seed_0"),
    "a file that is a link": (lambda out: linked(out, "report.html"), "report.html is something"),
    "tb that is a link": (lambda out: linked(out, "tb", "elsewhere"), "out/tb is something"),
    "a pipe": (lambda out: os.mkfifo(a_run(out) / "result.tmp") or out, "result.tmp is something"),
    "a comparison": (compared, "does not look like one"),
}  # fmt: skip
FOREIGN_COMPARISONS = {
    "a run": (a_run, "does not look like one"),
    "with a thesis": (lambda out: compared(out, "src/thesis.txt"), "src/thesis.txt is something"),
    "with a thesis of that depth": (
        lambda out: compared(out, "src/seed_1/thesis.txt"), "src/seed_1(/thesis.txt)? is something"
    ),
    "with a page of that depth": (
        lambda out: compared(out, "src/seed_1/report.html"), "src/seed_1 is something"
    ),
    "with notes in a run": (
        lambda out: compared(out, "default/seed_0/notes.txt"), "default/seed_0/notes.txt is some"
    ),
    "with a linked run": (
        lambda out: (compared(out) / "online").symlink_to(out.parent / "elsewhere") or out,
        "online is something",
    ),
}  # fmt: skip
TABLE = [(make, match, run_entries.RUN) for make, match in FOREIGN.values()]
TABLE += [(make, match, run_entries.COMPARISON) for make, match in FOREIGN_COMPARISONS.values()]


@pytest.mark.parametrize(
    ("make", "match", "layout"),
    TABLE,
    ids=[*FOREIGN, *(f"comparison: {n}" for n in FOREIGN_COMPARISONS)],
)
def test_what_is_not_ours_stays_as_it_is(
    make: Callable[[Path], Path], match: str, layout: run_entries.DirectoryLayout, tmp_path: Path
) -> None:
    fill(tmp_path, "victim", "elsewhere/thesis.txt")
    out = make(tmp_path / "out")
    pipes = [path for path in out.rglob("*") if path.is_fifo()]
    before = None if pipes else snapshot(tmp_path)
    for refused in (
        lambda: run_directory.prepare(out, overwrite=True, layout=layout),
        lambda: run_directory.create(out, overwrite=True, layout=layout),
    ):
        with pytest.raises(DfkdError, match=match) as caught:
            refused()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300 + 2 * len(str(tmp_path))
    assert all(path.is_fifo() for path in pipes)
    assert pipes or snapshot(tmp_path) == before


def test_a_removal_that_breaks_off_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, left = Path.unlink, [0]

    def fail(path: Path, missing_ok: bool = False) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "out of cheese")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    for number in range(1, 40):
        out, left[0] = compared(tmp_path / str(number)), number
        while any(out.iterdir()):
            left[0] = number
            run_directory.prepare(out, overwrite=True, layout=run_entries.COMPARISON)
            with contextlib.suppress(DfkdError):
                run_directory.create(out, overwrite=True, layout=run_entries.COMPARISON)


def test_places_where_more_than_a_run_lives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, home = a_run(tmp_path / "all" / "here"), tmp_path / "homes" / "me"
    a_run(home)
    (tmp_path / "link").symlink_to(here)
    (tmp_path / "nowhere").symlink_to(tmp_path / "no")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    before = snapshot(tmp_path)
    places = [".", "", here, here.parent, "/", home, home.parent, "../here"]
    links = [tmp_path / "link", tmp_path / "nowhere", f"{tmp_path}/link/"]
    for overwrite in (True, False):
        for place in places:
            with pytest.raises(DfkdError, match=r"is or holds (the directory you are|your home)"):
                run_directory.prepare(Path(place), overwrite)
        for link in links:
            with pytest.raises(DfkdError, match="is a link; name the directory"):
                run_directory.prepare(Path(link), overwrite)
    assert snapshot(tmp_path) == before
    assert run_directory.prepare(Path(), resume=True) == Path()
    assert run_directory.prepare(Path("new")) == Path("new")


# What is read


def test_uris_name_places_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    models = [
        "run:a", "run:b?trust=True", "c/net.py:make?weights=~/w.pth", "torchvision:resnet18",
        "torchvision:resnet18?weights=d.pth", "a.b:f", "bundled:digits_vgg", None, "a module",
        "run:~nobody_of_that_name/x",
    ]  # fmt: skip
    data = ["npz:e.npz", "folder:f", "idx:~/g", "bundled:digits_vgg", None, "noise"]
    assert [str(path) for path in local_paths(models, data)] == [
        "a", "b", "/home/me/w.pth", "c/net.py", "d.pth", "~nobody_of_that_name/x",
        "e.npz", "f", "/home/me/g",
    ]  # fmt: skip


def test_what_is_read_is_never_written_to(tmp_path: Path) -> None:
    teacher = a_run(tmp_path / "runs" / "teacher", "images/00000_class1.png")
    (tmp_path / "link").symlink_to(teacher)
    before = snapshot(tmp_path)
    reads = (teacher, teacher / "student.safetensors", teacher / "images", tmp_path / "link")
    for source in reads:
        for flags in ({"overwrite": True}, {"resume": True}, {}):
            for out in (teacher, teacher.parent, tmp_path):
                with pytest.raises(DfkdError, match="which is read; choose another"):
                    run_directory.prepare(out, reads=[tmp_path / "nowhere", source], **flags)
    for out in (teacher / "seen", teacher / "a" / "b"):
        with pytest.raises(DfkdError, match=r"lies in .*teacher, which is read"):
            run_directory.prepare(out, reads=[teacher])
    assert snapshot(tmp_path) == before
    beside = teacher.parent / "student"
    assert run_directory.prepare(beside, reads=[*reads, Path("x" * 5000), Path("~"), Path("a\0b")])


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("distill", ("run:{run}", STUDENT)),
        ("distill", (f"{STUDENT}&weights={{run}}/student.safetensors", STUDENT)),
        ("distill", (DIGITS, "run:{run}")),
        ("distill", (DIGITS, "run:{link}?trust=True")),
        ("distill", (DIGITS, "{run}/net.py:make")),
        ("distill", (DIGITS, STUDENT, "--scheme", "ensemble", "--teachers", "run:{run}")),
        ("distill", (DIGITS, STUDENT, "--images", "folder:{run}/images")),
        ("distill", (DIGITS, STUDENT, "--eval", "npz:{run}/test.npz")),
        ("distill", (DIGITS, STUDENT, "--eval", "idx:{run}")),
        ("distill", (DIGITS, STUDENT, "--class-names", "{run}/names.txt")),
        ("distill", (DIGITS, STUDENT, "--scheme", "online", "--set",
                     "scheme_config.peers=['run:{run}']")),
        ("invert", ("run:{run}", "--classes", "1")),
        ("invert", (DIGITS, "--classes", "1", "--class-names", "{run}/names.txt")),
        ("compare", ("run:{run}", STUDENT, "--methods", "drawings", "--eval", DIGITS)),
        ("compare", (DIGITS, STUDENT, "--methods", "drawings", "--eval", "folder:{run}/images")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
def test_commands_never_write_to_what_they_read(
    command: str,
    words: tuple[str, ...],
    flag: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(
        tmp_path / "runs" / "one", "images/00000_class1.png", "net.py", "names.txt", "test.npz"
    )
    (tmp_path / "link").symlink_to(run)
    before = snapshot(tmp_path)
    given = [word.format(run=run, link=tmp_path / "link") for word in words]
    flags = ["--overwrite"] if command == "invert" else [flag]
    for out in (run, run.parent):
        assert cli.main([command, *given, *flags, "--out", str(out)]) == 2
        told = capsys.readouterr().err
        assert "which is read; choose another" in told
        assert told.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_a_settings_file_is_read_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run")
    (run / "mine.yaml").write_text("seed: 1")
    words = ["distill", DIGITS, STUDENT, "--config", str(run / "mine.yaml"), "--out", str(run)]
    assert cli.main([*words, "--overwrite"]) == 2
    assert "mine.yaml, which is read" in capsys.readouterr().err


# Links in a run that goes on


@pytest.mark.parametrize(
    "name",
    ["report.html", "grid.png", "metrics.jsonl", "student.safetensors", "result.json", "tb",
     "checkpoint", "images", "checkpoint/last.pt", "checkpoint/last.pt.tmp", EVENTS,
     "manifest.json"],
)  # fmt: skip
def test_a_run_does_not_go_on_through_a_link(name: str, tmp_path: Path) -> None:
    fill(tmp_path, "victim")
    out = linked(tmp_path / "out", name)
    before = snapshot(tmp_path)
    with pytest.raises(DfkdError, match=rf"{name}, which is a link; move it away") as caught:
        run_directory.prepare(out, resume=True)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before
    (out / name).unlink()
    (out / "mine").symlink_to(tmp_path / "victim")
    assert run_directory.prepare(a_run(out), resume=True) == out


def test_a_comparison_does_not_go_on_through_a_link(tmp_path: Path) -> None:
    out = compared(tmp_path / "out", "notes.txt")
    assert run_directory.prepare(out, resume=True, layout=run_entries.COMPARISON) == out
    shutil.move(out / "default", tmp_path / "default")
    (out / "default").symlink_to(tmp_path / "default")
    with pytest.raises(DfkdError, match="default, which is a link"):
        run_directory.prepare(out, resume=True, layout=run_entries.COMPARISON)
    (out / "default").unlink()
    os.mkfifo(out / "nayer" / "seed_1" / "metrics.jsonl")
    with pytest.raises(DfkdError, match=r"metrics.jsonl, which is not what its name says"):
        run_directory.prepare(out, resume=True, layout=run_entries.COMPARISON)


def test_every_file_takes_the_place_of_a_link(tmp_path: Path) -> None:
    import torch

    from dfkd.report.grid import write_grid, write_images

    victim, images = tmp_path / "victim", torch.zeros(1, 1, 4, 4)
    victim.write_text("precious")
    (tmp_path / "images").mkdir()
    record = {
        "methods": [], "settings": {"seeds": [0], "minutes": 1, "vary": "methods"}, "command": "",
        "student_parameters": 1, "teacher_parameters": 1, "teacher_accuracy": None,
        "teacher_hash": "a", "refused": {},
        "runs": 0, "runs_left": 0, "classes": 2, "epsilon": None, "step_bytes": {},
    }  # fmt: skip
    writers: dict[str, Callable[[], object]] = {
        "report.html": lambda: write_page(tmp_path, {}, {}),
        "grid.png": lambda: write_grid(tmp_path / "grid.png", images, ["a"]),
        "images/00000_class3.png": lambda: write_images(tmp_path, images, [3]),
        "metrics.jsonl": lambda: MetricsLog(tmp_path, 1).close(),
        "result.json": lambda: run_records.write_json(tmp_path / "result.json", {}),
        "comparison.md": lambda: write_text(tmp_path / "comparison.md", "x"),
        "comparison.html": lambda: write_comparison(tmp_path, record),
        "student.safetensors": lambda: save_artefact(
            tmp_path / "student.safetensors", small(), None, {}, SPEC, "ab"
        ),
        "last.pt": lambda: checkpoint.save(tmp_path, {}),
    }
    for name, write in writers.items():
        place = tmp_path / name
        place.unlink(missing_ok=True)
        place.symlink_to(victim)
        write()
        assert not place.is_symlink(), name
        assert place.stat().st_mode & 0o777 == 0o644, name
    assert victim.read_text() == "precious"
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_fails_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert snapshot(tmp_path) == {"a.txt": b"before"}


# The rest


def test_preparing_creates_nothing(tmp_path: Path) -> None:
    assert not run_directory.prepare(tmp_path / "new").exists()


def test_what_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DfkdError, match=r"`output` .*run cannot be written \(Not a directory\); choose"
    ):
        run_directory.create(tmp_path / "file" / "run")
    with pytest.raises(DfkdError, match="is a file; name a directory"):
        run_directory.prepare(tmp_path / "file")
    with pytest.raises(DfkdError, match=r"cannot be written \(File name too long\)"):
        run_directory.prepare(tmp_path / ("x" * 300))


def test_what_was_just_begun_is_discarded_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path / "out", "comparison.json", comparison_json=json.dumps(RECORD))
    run_directory.discard(tmp_path / "out", run_entries.COMPARISON)
    assert not (tmp_path / "out").exists()
    fill(tmp_path / "out", "comparison.json", "mine", comparison_json=json.dumps(RECORD))
    before = snapshot(tmp_path)
    run_directory.discard(tmp_path / "out", run_entries.COMPARISON)
    assert snapshot(tmp_path) == before
