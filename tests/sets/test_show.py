"""The page of a written dataset: complete in itself, escaped, true, and small."""

import json

import pytest
import torch

import dfkd
from dfkd.cli import main
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.shards import shard_name
from dfkd.errors import DfkdError
from dfkd.report.gallery import A_CLASS, OPEN_CLASSES, Gallery, gallery_of, images_a_class
from dfkd.report.histogram import BINS, plot_shares
from dfkd.runs.options import Compute
from dfkd.sets.evolution_again import watch_first_shard
from dfkd.sets.show import show_set
from dfkd.teacher import Teacher
from support.browser import browse, needs_chromium
from support.inversion import teacher as coloured
from support.pages import PageReader
from support.written import noise, write_set

SCRIPT = "<script>alert(1)</script>"


def named(names):
    """The teacher of colour images, whose classes have these names."""
    plain = coloured()
    return Teacher(plain.network, plain.spec, names)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of twelve images in shards of four, and its teacher."""
    teacher = coloured()
    directory = tmp_path_factory.mktemp("sets") / "made"
    dfkd.synthesize(
        teacher, output=directory, per_class=2, steps=12, shard_size=4,
        compute=Compute(compile="off"),
    )  # fmt: skip
    return directory, teacher


def read(path):
    return PageReader(path.read_text(encoding="utf-8"))


def plain(reader):
    return reader.text.replace("\u202f", " ")


def test_the_page_tells_all_and_reaches_nowhere(made):
    directory, teacher = made
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    path = show_set(directory)
    assert path == directory / "show.html"
    page = read(path)
    text = plain(page)
    data = WrittenSet(directory)
    answers = data.column("logits").float().softmax(1)
    agreement = (answers.argmax(1) == data.column("labels")).float().mean().item()
    assert f"{100 * agreement:.1f} %" in text
    for piece in (
        "12 colour images of 12 × 12 pixels in 6 classes", "in 3 shards", "2 a class",
        "2 images", "None among all images", "--teacher", teacher.fingerprint()[:16],
    ):  # fmt: skip
        assert piece in text, piece
    assert page.tags.count("img") == 12
    assert page.tags.count("svg") == 1
    # Nothing else has changed, and the page is the same when it is written again.
    again = path.read_bytes()
    assert show_set(directory).read_bytes() == again
    assert {p: p.read_bytes() for p in before if p != path} == {
        p: content for p, content in before.items() if p != path
    }


def test_the_first_shard_is_gone_through_again(made):
    directory, teacher = made
    shares = []
    watched = watch_first_shard(
        WrittenSet(directory), teacher, pulse=lambda share, step: shares.append((share, step))
    )
    assert watched.same
    stored = WrittenSet(directory).rows(range(4), "images")["images"]
    frames = watched.evolution.stacked()
    assert torch.equal(frames[-1], stored)
    assert frames.shape == (8, 4, 3, 12, 12)
    assert not torch.equal(frames[0], frames[-1])
    assert shares == [(i / 12, i) for i in range(12)]
    page = read(show_set(directory, teacher))
    assert "came out bit for bit as it is in the set" in page.text
    assert page.tags.count("img") == 12 + 8 * 4


def test_a_class_called_script_is_text(tmp_path):
    teacher = named([SCRIPT, '"><img src=x onerror=alert(1)>', "c" * 3000, "d", "e", "f"])
    images, labels = noise(12, 3, 12, 12), torch.arange(12) % 6
    page = read(show_set(write_set(tmp_path / "set", teacher, images, labels)))
    assert SCRIPT in page.text
    assert page.tags.count("img") == 12
    assert "c" * 200 not in page.text


def test_duplicates_lie_side_by_side(tmp_path):
    images, labels = noise(9, 3, 12, 12), torch.arange(9) % 6
    smooth = torch.linspace(0, 150, 12).expand(3, 12, 12).byte()
    images[4], images[7] = images[1], smooth
    images[8] = smooth + 3
    page = read(show_set(write_set(tmp_path / "set", coloured(), images, labels)))
    text = plain(page)
    assert "Among all images, 1 equal an earlier one, and 1 more look like one." in text
    for caption in ("1: 1", "4: 4", "7: 1", "8: 2"):
        assert caption in text
    assert page.tags.count("img") == 9 + 4


def test_many_duplicates_are_counted_not_drawn(tmp_path):
    images = noise(1, 3, 12, 12).expand(40, -1, -1, -1).contiguous()
    page = read(show_set(write_set(tmp_path / "set", coloured(), images, torch.arange(40) % 6)))
    assert "39 equal an earlier one" in page.text
    assert "15 further pairs are not shown" in page.text
    assert page.tags.count("img") == 40 + 2 * 24


def test_many_classes_fold_and_stay_small():
    classes = OPEN_CLASSES + 10
    labels = [index % classes for index in range(classes * 20)]
    images = noise(len(labels), 1, 4, 4)
    gallery = gallery_of(images, labels, [0.5] * len(labels), {i: str(i) for i in range(classes)})
    assert gallery.collapsed
    assert {len(panel.pictures) for panel in gallery.panels} == {A_CLASS}
    assert gallery.panels[0].note == "12 of 20 images"
    assert not gallery_of(images[:3], [0, 1, 1], [0.1] * 3, {0: "a", 1: "b"}).collapsed
    for count in (1, 10, 100, 1000, 100_000):
        assert min(count, 1000) * images_a_class(count) <= 2400


def test_the_histogram_counts_every_confidence_once():
    values = [0.0, 0.049, 0.05, 0.5, 0.999, 1.0, float("nan")]
    (axes,) = plot_shares(values, "share").axes
    (columns,) = axes.patches
    heights, edges, _ = columns.get_data()
    assert len(heights) == 2 * BINS - 1
    assert list(heights[::2]) == [2, 1, *[0] * 8, 1, *[0] * 8, 2]
    assert not any(heights[1::2])
    assert edges[0] == 0
    assert edges[-1] < 1
    assert "mean 50.0" in Gallery(confidences=[0.25, 0.75]).parts()["confidence_note"]


@pytest.mark.parametrize("shape", [(1, 16, 32), (2, 9, 5), (3, 200, 120)])
def test_images_of_any_shape(tmp_path, shape):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(4 * shape[0], 3)
    )
    teacher = Teacher(network, dfkd.ImageSpec(*shape))
    directory = write_set(tmp_path / "set", teacher, noise(6, *shape), torch.arange(6) % 3)
    path = show_set(directory)
    assert read(path).tags.count("img") == 6
    assert path.stat().st_size < 300_000


def test_what_cannot_be_shown_is_one_line(made, tmp_path, capsys):
    directory, teacher = made
    torch.manual_seed(5)
    other = coloured()
    with torch.no_grad():
        other.network[0].weight += 1
    damaged = write_set(tmp_path / "damaged", teacher, noise(6, 3, 12, 12), torch.arange(6))
    text = json.loads((damaged / "manifest.json").read_text())
    text["classes"], text["shards"][0]["count"] = text["classes"][:5], 2
    linked = write_set(tmp_path / "linked", teacher, noise(6, 3, 12, 12), torch.arange(6))
    (linked / "show.html").symlink_to(tmp_path / "elsewhere")
    selected = write_set(tmp_path / "selected", teacher, noise(6, 3, 12, 12), torch.arange(6))
    cases = [
        (lambda: show_set(tmp_path / "none"), "is no synthetic dataset"),
        (lambda: show_set(directory, other), "made from another teacher"),
        (lambda: show_set(linked), "is a link or no file"),
        (lambda: show_set(selected, teacher), "does not say how the set was made"),
    ]
    (damaged / shard_name(0)).write_bytes(b"\xff" * 40)
    cases.append((lambda: show_set(damaged), "is damaged"))
    for action, hint in cases:
        with pytest.raises(DfkdError) as caught:
            action()
        assert hint in str(caught.value)
        assert len(str(caught.value)) <= 300
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "elsewhere").exists()
    assert main(["dataset", "show", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_writes_the_page_and_opens_it_where_asked(made, capsys, monkeypatch):
    directory, _ = made
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    monkeypatch.chdir(directory.parent)
    assert main(["dataset", "show", directory.name]) == 0
    assert capsys.readouterr().out.strip() == f"{directory.name}/show.html"
    assert not opened
    assert main(["dataset", "show", str(directory), "--open"]) == 0
    assert opened == [(directory / "show.html").as_uri()]


def test_the_page_of_an_inversion_has_classes_confidences_and_the_way(tmp_path):
    dfkd.invert(coloured(), [0, 5], 5, steps=16, output=tmp_path / "run")
    page = read(tmp_path / "run" / "report.html")
    for piece in ("How they came to be", "How sure the teacher is", "3 images", "2 images", "0 %"):
        assert piece in plain(page)
    assert page.tags.count("img") == 5 + 8 * 5


@needs_chromium
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_loads_every_picture_and_does_not_scroll_sideways(made, tmp_path, width):
    from html import escape

    directory, teacher = made
    page = show_set(directory, teacher).read_text(encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<body onload='const d = f.contentDocument; document.title = "
        '[d.documentElement.clientWidth, d.documentElement.scrollWidth] + " " + '
        "[...d.images].every(i => i.naturalWidth > 0)'>"
        f'<iframe id="f" style="border:0;width:{width}px;height:800px" '
        f'srcdoc="{escape(page)}"></iframe>',
        encoding="utf-8",
    )
    dom = browse(tmp_path, frame, "--window-size=1300,900", "--dump-dom")
    assert f"<title>{width},{width} true</title>" in dom
