"""The report room: grids, logs, progress, tables, and the page in a real browser."""

import io
import json
import math
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from dfkd.report import page, progress, sentences, units
from dfkd.report.grid import CELL, MARGIN, write_grid, write_images
from dfkd.report.log import MetricsLog, read_metrics
from dfkd.report.table import comparison_table
from support.browser import browse, needs_chromium

HOSTILE = "<script>alert(1)</script>"
ROWS: list[dict[str, Any]] = [
    {"name": "teacher [v1]", "accuracy": 0.9281, "parameters": 272_186, "file_bytes": 1_110_000,
     "latency_ms_1": 3.42, "latency_ms_32": 41.2, "agreement": 1.0},
    {"name": "student", "accuracy": None, "parameters": 69_242, "file_bytes": 290_000,
     "latency_ms_1": 1.2, "latency_ms_32": 112.0, "agreement": 0.9145},
]  # fmt: skip
RESULT: dict[str, Any] = {
    "method": "default",
    "teacher_accuracy": 0.9281,
    "student_accuracy": 0.8874,
    "agreement": 0.9145,
    "teacher_parameters": 272_186,
    "student_parameters": 69_242,
    "student_steps": 4321,
    "images_synthesized": 552_960,
    "teacher_forwards": 553_100,
    "seconds": {"total": 241.2, "synthesis": 88.0, "distillation": 149.0},
    "collapsed": False,
    "comparison": ROWS,
    "class_counts": [50, 40, 0],
}
MANIFEST: dict[str, Any] = {
    "command": ["dfkd", "distill", "t" * 90, "student", "--out", "a b"],
    "recipe": {"method": "default", "alternation": {"batch_size": 128}},
    "seed": 3,
    "versions": {"python": "3.12", "torch": "2.14"},
    "hardware": {"cpu": "x" * 80, "cores": 2, "gpus": []},
    "git": {"commit": "8ae4c4a", "dirty": False},
    "teacher_hash_before": "sha256:" + "ab" * 32,
    "teacher_hash_after": "sha256:" + "ab" * 32,
    "real_data": {"used": True, "purpose": "accuracy (--eval)"},
    "class_names": ["coat", HOSTILE, "w" * 60],
}


def make_run(directory: Path, result: Any = RESULT, manifest: Any = MANIFEST) -> Path:
    directory.mkdir()
    rows = [
        {"step": i, "seconds": 2.0 * i, "synthesis/a<b>": 300 * math.exp(-i / 9) + 0.1,
         "distillation/kl": None if 10 < i < 15 else 1 / (i + 1)}
        for i in range(80)
    ]  # fmt: skip
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_grid(directory / "grid.png", torch.rand(12, 3, 16, 16), ["coat 91 %"] * 12)
    return page.write_page(directory, manifest, result)


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_enlarges_every_pixel_exactly(tmp_path: Path, channels: int) -> None:
    images = torch.rand(5, channels, 10, 8)
    path = write_grid(tmp_path / "grid.png", images, list("abcde"), columns=3)
    factor = CELL // 10
    drawn = np.asarray(Image.open(path))[MARGIN : MARGIN + 10 * factor : factor]
    drawn = drawn[:, MARGIN : MARGIN + 8 * factor : factor]
    expected = images[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    assert (drawn == expected).all()


def test_grid_takes_long_captions_titles_and_odd_channels(tmp_path: Path) -> None:
    captions = ["", "a name that goes on and on, and on", "x" * 99, "first\nsecond\nthird"]
    path = write_grid(tmp_path / "g.png", torch.rand(4, 5, 300, 20), captions, title="t " * 400)
    assert Image.open(path).height > 300
    with pytest.raises(ValueError, match="4 images and 1 captions"):
        write_grid(path, torch.rand(4, 1, 8, 8), ["a"])
    with pytest.raises(ValueError, match="0 images"):
        write_grid(path, torch.rand(0, 1, 8, 8), [])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back_lossless(tmp_path: Path, channels: int) -> None:
    images = torch.randint(0, 256, (3, channels, 7, 9)) / 255
    paths = write_images(tmp_path, images, [1, 7, 1])
    assert [p.name for p in paths] == [
        "00000_class1.png", "00001_class7.png", "00002_class1.png",
    ]  # fmt: skip
    for path, image in zip(paths, images, strict=True):
        assert path.parent == tmp_path / "images"
        pixels = torch.from_numpy(np.array(Image.open(path))).reshape(7, 9, channels)
        assert torch.equal(pixels.permute(2, 0, 1) / 255, image)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        write_images(tmp_path, torch.rand(1, 4, 8, 8), [0])


# Logs


def test_log_resumes_after_the_step_it_is_given(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, step / 2, {"kl": 1.0 / step, "bad": math.nan})
    log.images(3, torch.rand(4, 1, 8, 8))
    log.close()
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "sec')  # killed here
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path)[1] == {"step": 2, "seconds": 1.0, "kl": 0.5, "bad": None}

    log = MetricsLog(tmp_path, resume_step=2)
    log.write(3, 9.0, {"kl": 0.1})
    log.close()
    assert [(row["step"], row["kl"]) for row in read_metrics(tmp_path)] == [
        (1, 1.0), (2, 0.5), (3, 0.1),
    ]  # fmt: skip
    assert list((tmp_path / "tb").glob("events*"))
    assert read_metrics(tmp_path / "nowhere") == []


# Progress


def updates(console: Console, count: int = 101) -> None:
    with progress.Progress("Distilling", console) as shown:
        for i in range(count):
            shown.update(i / (count - 1), 10 * i, {"distillation/kl": 1 / (i + 1)}, [8, 4, 0, 1])


def test_progress_prints_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    updates(Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert 15 <= len(lines) <= 22
    assert "\x1b" not in out.getvalue()
    assert lines[-1].startswith("Distilling 100%  step 1,000")
    assert "done" in lines[-1]
    assert "kl 0.0099" in lines[-1]
    assert lines[-1].endswith("classes █▄·▁")
    assert "left" in lines[3]


def test_progress_is_live_in_a_terminal_and_plain_in_a_dumb_one() -> None:
    out = io.StringIO()
    updates(Console(file=out, force_terminal=True, width=100, _environ={"TERM": "xterm"}))
    assert "\x1b[" in out.getvalue()
    assert "█▄·▁" in out.getvalue()
    out = io.StringIO()
    updates(Console(file=out, force_terminal=True, _environ={"TERM": "dumb"}))
    assert "\x1b[1A" not in out.getvalue()


def test_progress_survives_an_ascii_console() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    updates(Console(file=file))
    file.flush()
    assert b"classes 8401" in raw.getvalue()


def test_balance_shares_columns_between_many_classes() -> None:
    assert progress.balance([1, 2, 4, 8]) == "▁▂▄█"
    assert progress.balance([0, 0]) == "··"
    assert len(progress.balance(range(1000))) == 40


# Figures and tables


def test_figures_carry_units_and_dashes() -> None:
    plain = [
        units.percent(0.9264), units.whole(1234567), units.size_of_bytes(281_400),
        units.size_of_bytes(999_700), units.milliseconds(1.844), units.milliseconds(112.4),
        units.duration(8.31), units.duration(59.97), units.duration(7830),
    ]  # fmt: skip
    assert [text.replace("\u202f", " ") for text in plain] == [
        "92.6 %", "1,234,567", "281 kB", "1 MB", "1.84 ms", "112 ms",
        "8.3 s", "1 min 00 s", "2 h 10 min",
    ]  # fmt: skip
    for write in (units.percent, units.whole, units.size_of_bytes, units.duration):
        assert write(None) == write(math.nan) == "–"
    assert units.ratio(1, 0) is None
    assert units.ratio(1, 4) == 0.25


def test_table_names_what_was_not_measured() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(comparison_table(ROWS))
    text = out.getvalue()
    assert "teacher [v1]" in text
    assert "not measured" in text
    assert "69,242" in text
    out = io.StringIO()
    Console(file=out, width=100).print(comparison_table([{"name": "m", "accuracy": None}]))
    assert "Accuracy" in out.getvalue()
    assert "Latency" not in out.getvalue()


# The page, read


class Reader(HTMLParser):
    """Collects tags, and every attribute by which a page can reach outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        reaching = {"href", "src", "srcset", "action", "data", "poster", "background"}
        self.links += [value or "" for name, value in attrs if name in reaching]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_page_reaches_nowhere_and_tells_all(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    reader, html = read(path), path.read_text(encoding="utf-8")
    assert "script" not in reader.tags
    assert all(link.startswith("data:") for link in reader.links)
    assert not re.search(r"@import|url\(|https?://", html)
    assert HOSTILE not in html
    assert HOSTILE in reader.text
    text = reader.text.replace("\u202f", " ")
    for piece in (
        "95.6 % of its teacher’s accuracy", "92.81 %", "not measured", "69,242", "290 kB",
        "3.42 ms", "91.45 %", "552,960", "553,100", "4,321", "4 min 01 s", "1 min 28 s (36 %)",
        "used for: accuracy (--eval)", "before = after", "'a b'", "1 of 3 classes have none",
        "batch_size", "torch", "8ae4c4a",
    ):  # fmt: skip
        assert piece in text, piece


def test_page_says_what_was_not_measured(tmp_path: Path) -> None:
    result = {**RESULT, "student_accuracy": None, "teacher_accuracy": None, "collapsed": True}
    del result["comparison"]
    manifest = {**MANIFEST, "teacher_hash_after": "sha256:other", "real_data": {"used": False}}
    text = read(make_run(tmp_path / "run", result, manifest)).text.replace("\u202f", " ")
    assert "Accuracy not measured: no --eval." in text
    assert "teacher’s answer on 91.5 % of the images" in text
    assert "The teacher changed during the run" in text
    assert "collapsed" in text
    assert "none, neither for training nor for measuring" in text


def test_page_lists_what_was_decided_and_what_a_metered_teacher_was_asked(tmp_path: Path) -> None:
    account = {"asked": {"trial": 1, "training": 999}, "counted": 900, "budget": 5000}
    asked = {**account, "price": 0.5, "cost": 450.0}
    lines = ["no mirror images: `learner.flip=0.5` shows them", "a <b> & c"]
    found = {**RESULT, "teacher_parameters": 0, "decisions": lines, "queries": asked}
    del found["comparison"]
    text = make_run(tmp_path / "run", found).read_text()
    assert "<li>no mirror images: <code>learner.flip=0.5</code> shows them</li>" in text
    assert "<li>a &lt;b&gt; &amp; c</li>" in text
    assert "1,000 of 5,000 images, 900 counted, at a cost of 450" in text
    row = text.partition("Teacher</th>")[2].partition("</tr>")[0]
    assert "<td>0</td>" not in row  # its parameters are not seen


def test_page_of_an_inversion_has_no_student(tmp_path: Path) -> None:
    result = {"method": "deep_inversion", "own_top1": 0.96875, "images_synthesized": 32,
              "seconds": {"total": 300.0}}  # fmt: skip
    text = read(make_run(tmp_path / "run", result)).text.replace("\u202f", " ")
    assert "the teacher recognises 96.9 % of them" in text
    assert "Student" not in text
    assert "Own top-1" in text


def test_page_of_an_empty_directory_and_of_many_classes(tmp_path: Path) -> None:
    assert "not finished" in read(page.write_page(tmp_path, {}, {})).text
    html = make_run(tmp_path / "run", {**RESULT, "class_counts": list(range(1000))})
    assert 'aria-label="Class balance: 1000 classes' in html.read_text(encoding="utf-8")
    assert sentences.balance_note([]) == ""


def test_page_orders_a_resumed_log_and_skips_what_is_no_number(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "seconds": 0, "kl": 4}, {"step": 9, "seconds": 30, "kl": 1},
        {"step": 5, "seconds": 20, "kl": math.nan}, {"step": 6, "seconds": None, "kl": 7},
        {"step": 7, "seconds": 25, "kl": 2}, {"kl": 8}, {"step": 8, "seconds": 26, "text": "x"},
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = page.write_page(tmp_path, {}, {}).read_text(encoding="utf-8")
    assert html.count("<svg") == 1
    assert "kl: from 4 to 1" in html


# The page, in a browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run")


@needs_chromium
def test_browser_shows_the_page_and_runs_nothing(tmp_path: Path, report: Path) -> None:
    dom = browse(tmp_path, report, "--dump-dom")
    reader = Reader(dom)
    assert "script" not in reader.tags
    assert reader.tags.count("svg") == 2
    assert reader.tags.count("img") == 1
    assert HOSTILE in reader.text


@needs_chromium
@pytest.mark.parametrize("width", [320, 375, 1200])
def test_browser_needs_no_horizontal_scroll(tmp_path: Path, report: Path, width: int) -> None:
    # A frame of that width, for a headless window is never narrower than 500 pixels.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<body onload='const d = f.contentDocument; document.title = "
        f'[d.documentElement.clientWidth, d.documentElement.scrollWidth] + " " + '
        f"[...d.images].every(i => i.naturalWidth > 0)'>"
        f'<iframe id="f" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{escape(report.read_text(encoding="utf-8"))}"></iframe>',
        encoding="utf-8",
    )
    dom = browse(tmp_path, frame, "--window-size=1300,900", "--dump-dom")
    assert f"<title>{width},{width} true</title>" in dom


@needs_chromium
@pytest.mark.parametrize(("scheme", "dark"), [("1", False), ("0", True)])
@pytest.mark.parametrize("width", [375, 1200])
def test_browser_follows_light_and_dark(
    tmp_path: Path, report: Path, width: int, scheme: str, dark: bool
) -> None:
    picture = tmp_path / "page.png"
    browse(
        tmp_path, report, f"--window-size={width},900", f"--screenshot={picture}",
        f"--blink-settings=preferredColorScheme={scheme}",
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (900, width)
    assert (np.median(pixels) < 60) == dark
    assert pixels.std() > 5  # something is drawn on the paper
