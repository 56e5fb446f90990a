"""What other tools wrote becomes a native set; what is hostile becomes one line, and no file."""

import io
import json
import os
import struct
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dfkd.cli import main
from dfkd.datasets.pictures import Wanted, read_picture
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.sets.exports import export_set
from dfkd.sets.imports import import_set
from dfkd.sets.plan import Maker
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.handed_on import NAMES, write_set

SHAPE = (3, 6, 5)


@pytest.fixture(scope="module")
def maker():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(48, 4))
    return Maker(Teacher(network, ImageSpec(*SHAPE), NAMES), "a test")


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "set")


def png(values=None, size=(5, 6), mode="RGB"):
    stream = io.BytesIO()
    picture = Image.new(mode, size) if values is None else Image.fromarray(values)
    picture.save(stream, "PNG")
    return stream.getvalue()


def write_tar(path, members):
    """Write a tar file of names and bytes, or of ready-made members."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content) if isinstance(content, bytes) else 0
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def refused(source, tmp_path, maker, match):
    """Assert that an import is refused in one short line, and writes nothing."""
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DfkdError, match=match) as caught:
        import_set(source, tmp_path / "refused", maker)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_an_export_comes_back_whole_without_a_teacher(tmp_path, kind, channels):
    pytest.importorskip("pyarrow")
    data = write_set(tmp_path / "set", (channels, 6, 5))
    export_set(data, kind, tmp_path / "out")
    found = import_set(tmp_path / "out", tmp_path / "new")
    for name in ("images", "labels", "logits", "seed", "confidence"):
        assert torch.equal(found.column(name), data.column(name)), name
    assert found.manifest.classes == data.manifest.classes
    assert found.manifest.teachers == data.manifest.teachers
    assert found.manifest.image == data.manifest.image
    assert found.manifest.real_data_used is False


@pytest.mark.parametrize("channels", [3, 5])
def test_a_folder_comes_back_with_a_teachers_answers(tmp_path, channels):
    data = write_set(tmp_path / "set", (channels, 6, 5))
    export_set(data, "folder", tmp_path / "out")
    network = nn.Sequential(nn.Flatten(), nn.Linear(30 * channels, 4))
    maker = Maker(Teacher(network, ImageSpec(channels, 6, 5), NAMES), "a test")
    found = import_set(tmp_path / "out", tmp_path / "new", maker)
    assert torch.equal(found.column("images"), data.column("images"))
    assert torch.equal(found.column("labels"), data.column("labels"))
    assert torch.equal(found.column("seed"), data.column("seed"))
    with torch.no_grad():
        answers = maker.teacher(data.column("images").float() / 255)
    assert torch.allclose(found.column("logits").float(), answers, atol=2e-3)
    own = answers.softmax(1).gather(1, data.column("labels")[:, None])[:, 0]
    assert torch.allclose(found.column("confidence"), own)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet"])
def test_targets_of_mixtures_come_back(tmp_path, kind, maker):
    pytest.importorskip("pyarrow")
    data = write_set(tmp_path / "set", mixed=True)
    export_set(data, kind, tmp_path / "out")
    order = torch.tensor([2, 0, 3, 1])
    turned = Maker(
        Teacher(maker.teacher.network, ImageSpec(*SHAPE), [NAMES[i] for i in order]), "a test"
    )
    for name, asked, back in (("same", maker, None), ("turned", turned, order)):
        found = import_set(tmp_path / "out", tmp_path / name, asked)
        targets = found.column("targets")
        wanted = data.column("targets")
        assert torch.equal(targets, wanted if back is None else wanted[:, back])
        assert not found.manifest.real_data_used
    if kind != "folder":
        assert torch.equal(
            import_set(tmp_path / "out", tmp_path / "alone").column("targets"),
            data.column("targets"),
        )


@pytest.mark.parametrize(
    "values", [[0.5, 0.5], [2.0, -1.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1], ["x"], 3, None]
)
def test_targets_that_are_no_probabilities_are_refused(tmp_path, maker, values):
    export_set(write_set(tmp_path / "set", mixed=True), "folder", tmp_path / "out")
    path = tmp_path / "out/metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["targets"] = values
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused(tmp_path / "out", tmp_path, maker, "targets")


def test_targets_of_others_are_not_taken_for_ours(tmp_path, maker):
    member = [("a.png", png()), ("a.cls", b"1"), ("a.targets.npy", b"whatever")]
    write_tar(tmp_path / "in.tar", member)
    found = import_set(tmp_path / "in.tar", tmp_path / "new", maker)
    assert "targets" not in found.columns


def test_other_sizes_are_refused_or_brought_to_the_size_that_is_asked_for(tmp_path, maker):
    for name, size, mode in (("a", (5, 6), "RGB"), ("b", (12, 9), "L"), ("c", (3, 20), "RGB")):
        folder = tmp_path / "in" / "con"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png(size=size, mode=mode))
    refused(tmp_path / "in", tmp_path, maker, "`image=3x6x5`, which resizes")
    data = import_set(tmp_path / "in", tmp_path / "new", maker, resize=True)
    assert data.column("images").shape == (3, *SHAPE)
    assert "2 pictures of other sizes were brought to 3x6x5" in data.manifest.decisions[-1]
    rows = data.column("images")
    pictures = sorted((tmp_path / "in" / "con").iterdir())
    for row, path in zip(rows, pictures, strict=True):
        pixels = read_picture(path, Wanted(ImageSpec(*SHAPE))).pixels
        assert torch.equal(row, torch.tensor(pixels).permute(2, 0, 1))
    with pytest.raises(DfkdError, match="name it"):
        import_set(tmp_path / "in", tmp_path / "other", resize=True)


def test_image_options_without_a_teacher_are_refused(tmp_path, capsys):
    words = ("dataset", "import", str(tmp_path), "--out", str(tmp_path / "o"), "--image", "3x6x5")
    assert main(list(words)) == 2
    assert "are for a --teacher" in capsys.readouterr().err


def test_who_says_synthetic_must_have_the_very_images(data, tmp_path, maker):
    export_set(data, "folder", tmp_path / "out")
    assert not import_set(tmp_path / "out", tmp_path / "a", maker).manifest.real_data_used
    (path,) = (tmp_path / "out").glob("*/00003.png")
    path.write_bytes(png())
    found = import_set(tmp_path / "out", tmp_path / "b", maker).manifest
    assert found.real_data_used
    assert any("changed" in line for line in found.decisions)
    (tmp_path / "out/dfkd_set.json").unlink()
    assert import_set(tmp_path / "out", tmp_path / "c", maker).manifest.real_data_used


def test_a_set_of_real_images_stays_one(tmp_path):
    export_set(write_set(tmp_path / "set", real=True), "webdataset", tmp_path / "out")
    assert import_set(tmp_path / "out", tmp_path / "new").manifest.real_data_used


def test_foreign_directories_are_classes_by_name(tmp_path, maker):
    for name in ("con", "t_shirt top"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "x.png").write_bytes(png())
    found = import_set(tmp_path / "in", tmp_path / "new", maker)
    assert found.column("labels").tolist() == [1, 0]
    assert found.manifest.real_data_used
    (tmp_path / "in/con").rename(tmp_path / "in/bogus")
    refused(tmp_path / "in", tmp_path, maker, "bogus")


def test_classes_in_another_order_are_matched_by_name(data, tmp_path):
    export_set(data, "webdataset", tmp_path / "out")
    network = nn.Sequential(nn.Flatten(), nn.Linear(90, 4))
    turned = Maker(Teacher(network, ImageSpec(*SHAPE), NAMES[::-1]), "a test")
    found = import_set(tmp_path / "out", tmp_path / "new", turned)
    assert torch.equal(found.column("labels"), 3 - data.column("labels"))
    assert not found.manifest.real_data_used
    small = Maker(Teacher(nn.Sequential(nn.Flatten(), nn.Linear(90, 3)), ImageSpec(*SHAPE)), "x")
    refused(tmp_path / "out", tmp_path, small, "has 4 classes and the model 3")


def test_without_answers_a_teacher_is_asked_for(data, tmp_path):
    export_set(data, "folder", tmp_path / "out")
    refused(tmp_path / "out", tmp_path, None, "name the `teacher`")
    refused(write_tar(tmp_path / "x.tar", [("a.png", png()), ("a.cls", b"0")]), tmp_path, None,
            "name the `teacher`")  # fmt: skip


NOISE = png(np.random.default_rng(0).integers(256, size=(6, 5, 3), dtype=np.uint8))
SAMPLE = [("a.png", png()), ("a.cls", b"1")]


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return [(member, None)]


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("../a.png", png())], "leads out"),
        ([("/a.png", png())], "leads out"),
        ([("..\\a.png", png())], "leads out"),
        (special("a.png", tarfile.SYMTYPE, "/etc/passwd"), "link"),
        (special("a.png", tarfile.LNKTYPE, "../x"), "link"),
        (special("a.png", tarfile.CHRTYPE), "no plain file"),
        (special("a.png", tarfile.FIFOTYPE), "no plain file"),
        ([*SAMPLE, ("b.png", png()), ("b.cls", b"0"), *SAMPLE], "twice"),
        ([SAMPLE[0], *SAMPLE], "twice"),
        ([("a.cls", b"1")], "no pictures"),
        ([*SAMPLE, ("a.jpg", png())], "2 pictures"),
        ([("a.png", png())], "no index"),
        ([("a.png", png()), ("a.cls", b"-1")], "no index"),
        ([("a.png", png()), ("a.cls", b"4")], "label 4: the classes are 0 to 3"),
        ([("a.png", png()), ("a.cls", b"9" * 99)], "99 bytes"),
        ([("a.png", png()), ("a.json", b"[" * 99_999)], "no object"),
        ([("a.png", png()), ("a.json", b'{"label": 1e400}')], "no index"),
        ([*SAMPLE, ("b.png", png(size=(4, 6))), ("b.cls", b"0")], "3x6x4 and the model takes"),
        ([("a.png", b"GIF89a" + bytes(99)), SAMPLE[1]], "no picture"),
        ([("a.png", NOISE[: len(NOISE) // 2]), SAMPLE[1]], "no picture"),
        ([("a.png", png(mode="I;16")), SAMPLE[1]], "I;16"),
        ([("a.npy", b"\x93NUMPY\x01\x00"), SAMPLE[1]], "no array"),
        ([], "no images"),
    ],
)
def test_hostile_tars_are_one_line(tmp_path, maker, members, match):
    refused(write_tar(tmp_path / "x.tar", members), tmp_path, maker, match)


def bomb(width, height):
    """A PNG whose header promises more pixels than any memory has."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(5000, 5000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_pixels_are_counted_before_they_are_unpacked(tmp_path, maker, size, monkeypatch):
    unpacked = []
    monkeypatch.setattr(Image.Image, "convert", lambda *_: unpacked.append(1))
    path = write_tar(tmp_path / "x.tar", [("a.png", bomb(*size)), ("a.cls", b"0")])
    refused(path, tmp_path, maker, "more than 16,777,216 pixels|decompression bomb")
    assert not unpacked


def test_an_array_cannot_promise_more_than_it_has(tmp_path, maker):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|u1", "fortran_order": False, "shape": (3, 1 << 20, 1 << 40)}
    )
    path = write_tar(tmp_path / "x.tar", [("a.npy", stream.getvalue()), ("a.cls", b"0")])
    refused(path, tmp_path, maker, "does not fit")


def test_a_member_of_any_size_is_refused_by_its_header(tmp_path, maker):
    member = tarfile.TarInfo("a.png")
    member.size = 1 << 40
    (tmp_path / "x.tar").write_bytes(member.tobuf() + bytes(4096))
    refused(tmp_path / "x.tar", tmp_path, maker, "1,099,511,627,776 bytes")
    long = tarfile.TarInfo("x")
    long.size, long.type = 1 << 40, tarfile.GNUTYPE_LONGNAME
    (tmp_path / "x.tar").write_bytes(long.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(tmp_path / "x.tar", tmp_path, maker, "header of")


@pytest.mark.parametrize("kept", [300, 512, 700, 1024, 1536, 2048])
def test_truncated_tars_are_noticed_wherever_they_end(tmp_path, maker, kept):
    path = write_tar(tmp_path / "x.tar", SAMPLE)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, tmp_path, maker, "fetch it again|no tar file|damaged|no pictures|no index")


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path, maker):
    path = write_tar(tmp_path / "x.tar", [*SAMPLE, ("b.png", png()), ("b.cls", b"0")])
    content = bytearray(path.read_bytes())
    content[2048:2052] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    refused(path, tmp_path, maker, "truncated or damaged")


def test_a_compressed_tar_is_to_be_unpacked_first(tmp_path, maker):
    with tarfile.open(tmp_path / "x.tar", "w:gz"):
        pass
    refused(tmp_path / "x.tar", tmp_path, maker, "compressed")


@pytest.mark.parametrize(
    "row",
    [
        '{"file_name": "../set/manifest.json", "label": 0}',
        '{"file_name": "/etc/passwd", "label": 0}',
        '{"file_name": "link.png", "label": 0}',
        '{"file_name": "a.png"}',
        '{"label": 0}',
        "[",
        '{"file_name": "a.png", "label": true}',
        '{"file_name": "a.png", "label": 4}',
        '{"file_name": "a.png", "label": 0}\n{"file_name": "./a.png", "label": 0}',
    ],
)
def test_metadata_that_lies_is_one_line(tmp_path, maker, row, data):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png())
    (tmp_path / "in/link.png").symlink_to("/etc/passwd")
    (tmp_path / "in/metadata.jsonl").write_text(row)
    refused(tmp_path / "in", tmp_path, maker, "outside|no such file|no index|no file|label|twice")


@pytest.mark.parametrize("keep", [4, 40, 400])
def test_damaged_tables_are_one_line(data, tmp_path, maker, keep):
    pytest.importorskip("pyarrow")
    export_set(data, "parquet", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("*.parquet")
    content = bytearray(path.read_bytes())
    content[keep : keep + 200] = bytes(200)
    path.write_bytes(content)
    refused(tmp_path / "out", tmp_path, maker, "damaged|no picture|can be read|no images")
    path.write_bytes(bytes(content[:keep]))
    refused(tmp_path / "out", tmp_path, maker, "no parquet file")


def test_tables_of_others_are_read_by_their_features(tmp_path, maker):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    features = {"img": {"_type": "Image"}, "fine": {"_type": "ClassLabel", "names": NAMES[::-1]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    values = np.random.default_rng(0).integers(256, size=(6, 5, 3), dtype=np.uint8)
    rows = [{"img": {"bytes": png(values), "path": None}, "fine": 3}]
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    found = import_set(tmp_path / "x.parquet", tmp_path / "new", maker)
    assert found.column("labels").tolist() == [0]
    assert np.array_equal(found[0][0].numpy(), values.transpose(2, 0, 1))
    pyarrow.parquet.write_table(table, tmp_path / "y.parquet")
    refused(tmp_path / "y.parquet", tmp_path, maker, "no columns image and label")


def test_a_note_that_lies_about_its_images_is_noticed(data, tmp_path):
    export_set(data, "webdataset", tmp_path / "out")
    path = tmp_path / "out/dfkd_set.json"
    note = json.loads(path.read_text())
    note["manifest"]["image"]["height"] = 60
    path.write_text(json.dumps(note))
    refused(tmp_path / "out", tmp_path, None, "damaged")
    path.write_text("{")
    refused(tmp_path / "out", tmp_path, None, "damaged")


def test_grey_and_palette_pictures_are_the_same_pixels(tmp_path, maker):
    (tmp_path / "in/CON").mkdir(parents=True)
    for name, mode in (("a", "L"), ("b", "P")):
        (tmp_path / f"in/CON/{name}.png").write_bytes(png(mode=mode))
    assert import_set(tmp_path / "in", tmp_path / "new", maker).column("images").sum() == 0


def test_a_disk_that_fills_leaves_no_set(data, tmp_path, monkeypatch):
    export_set(data, "webdataset", tmp_path / "out")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfkd.sets.imports.run.write_shard", full)
    refused(tmp_path / "out", tmp_path, None, "No space left")


def test_the_command_imports_what_the_command_exported(data, tmp_path, capsys):
    out, new = str(tmp_path / "out"), str(tmp_path / "new")
    assert main(["dataset", "export", str(data.directory), "--to", "webdataset", "--out", out]) == 0
    assert main(["dataset", "import", out, "--out", new]) == 0
    assert "12 synthetic images of 4 classes" in capsys.readouterr().out
    assert torch.equal(WrittenSet(new).column("images"), data.column("images"))
    assert main(["dataset", "import", str(tmp_path / "none"), "--out", new]) == 2
    assert capsys.readouterr().err.count("\n") == 1
