"""What ``dfkd.visualize`` draws, against networks of which the answer is known."""

import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dfkd.cli import main
from dfkd.errors import DfkdError
from dfkd.report.animation import MOST_FRAMES, write_animation
from dfkd.report.thumbnails import thumbnails
from dfkd.runs.latent_way import slerp
from dfkd.runs.options import Output
from dfkd.runs.visualization import visualize
from dfkd.synthesis.activation import ActivationConfig, excite
from dfkd.synthesis.evolution import Evolution
from dfkd.synthesis.layer_outputs import channel_dim, layer_outputs, spread_layers
from dfkd.synthesis.methods.deep_inversion import DeepInversion
from dfkd.synthesis.reconstruction import ReconstructionConfig, reconstruct
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.inversion import CONFIG
from support.inversion import teacher as coloured
from support.pages import PageReader

SCRIPT = "<script>alert(1)</script>"
CALM = ActivationConfig(steps=60, jitter=0.0, scale=0.0)


def waves(height=8, width=8):
    """Two smooth patterns of mean 0."""
    y = torch.linspace(0, math.pi, height)[:, None]
    x = torch.linspace(0, math.pi, width)
    return torch.stack([torch.cos(x).expand(height, width), (torch.cos(y) * torch.cos(x))])


def linear(names=("a", "b")):
    """A network without a norm whose logits are products with the patterns."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    network[1].weight.data = waves().flatten(1)
    return Teacher(network, ImageSpec(1, 8, 8), names)


def smooth_image(channels, height, width):
    rows = torch.linspace(0, 1, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 1, width).expand(height, width)
    return torch.stack([rows, columns, (rows + columns) / 2][:channels]) * 0.6 + 0.2


def correlation(one, other):
    return torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].item()


# Channels


def test_a_linear_channel_s_image_is_its_weights():
    found = excite(linear(), "1", [0, 1], CALM)
    # The best image in [0, 1] is 1 where a weight is positive and 0 elsewhere.
    assert torch.allclose(found.images[:, 0], (waves() > 0).float(), atol=1e-3)
    best = waves().clamp(min=0).flatten(1).sum(1)
    assert torch.allclose(found.after, best, rtol=1e-3)
    assert (found.after > found.before + 1).all()


def test_a_negative_channel_has_the_negative_image():
    teacher = linear()
    with torch.no_grad():
        teacher.network[1].weight[1] = -teacher.network[1].weight[0]
    one, other = excite(teacher, "1", [0, 1], CALM).images
    assert correlation(one, other) < -0.95


def test_an_image_does_not_depend_on_the_other_channels():
    short = ActivationConfig(steps=5)
    one, two = (excite(coloured(), "0", [3, other], short).images for other in (1, 2))
    assert torch.allclose(one[0], two[0], atol=1e-5)
    assert not torch.allclose(one[1], two[1], atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 16, 32), (3, 24, 24), (4, 9, 7), (1, 1, 40)])
def test_channels_of_any_images_without_statistics(shape):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(shape[0], 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(5, 3),
    )  # fmt: skip
    teacher = Teacher(network, ImageSpec(*shape))
    before = teacher.fingerprint()
    found = excite(teacher, "0", [4, 0, 4], ActivationConfig(steps=20), seed=3)
    assert found.images.shape == (3, *shape)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert (found.after > found.before).all()
    assert teacher.fingerprint() == before
    again = excite(teacher, "0", [4, 0, 4], ActivationConfig(steps=20), seed=3)
    assert torch.equal(found.images, again.images)


def test_where_channels_are():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.act = nn.Linear(4, 6), nn.GELU()
            self.head = nn.Linear(6, 3)

        def forward(self, images):
            return self.head(self.act(self.embed(images.flatten(2).mT)).mean(1))

    teacher = Teacher(Tokens(), ImageSpec(4, 5, 5))
    outputs = layer_outputs(teacher)
    assert [tuple(shape) for shape in outputs.values()] == [(2, 25, 6), (2, 25, 6), (2, 3)]
    assert [channel_dim(teacher, name, outputs[name]) for name in outputs] == [2, 2, 1]
    assert excite(teacher, "act", [5], ActivationConfig(steps=3)).images.shape == (1, 4, 5, 5)


def test_layers_that_are_chosen_end_stages():
    teacher = coloured()
    outputs = layer_outputs(teacher)
    assert spread_layers(outputs, teacher, 6) == ["0", "2", "5"]
    assert spread_layers(outputs, teacher, 6, first=False) == ["2", "5"]
    assert spread_layers(outputs, teacher, 1) == ["2"]


# Reconstruction


def test_an_invertible_layer_gives_the_image_back():
    """A 1 x 1 convolution of full rank loses nothing; a mean over the image nearly all."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    with torch.no_grad():
        network[0].weight[..., 0, 0] = torch.linalg.qr(torch.randn(3, 3))[0]
    teacher = Teacher(network, ImageSpec(3, 12, 12))
    image = 0.6 * smooth_image(3, 12, 12)  # of another mean than the start's
    found = reconstruct(teacher, image, ["0", "1"], ReconstructionConfig(steps=120, tv=1e-4))
    assert (found.images[0] - image).square().mean() < 1e-3
    assert (found.images[1] - image).square().mean() > 2e-3
    assert torch.allclose(found.images[1].mean((1, 2)), image.mean((1, 2)), atol=0.02)
    assert (found.errors < 1e-3).all()


def test_an_image_does_not_depend_on_the_other_layers():
    teacher, image = coloured(), smooth_image(3, 12, 12)
    few = ReconstructionConfig(steps=10)
    pairs = (["0", "5"], ["0", "2"])
    one, two = (reconstruct(teacher, image, names, few).images for names in pairs)
    assert torch.allclose(one[0], two[0], atol=1e-4)


# Evolution and animation


def test_moments_are_even_and_the_last_is_the_image():
    evolution = Evolution(ImageSpec(1, 2, 2), moments=5, count=2)
    for step in range(40):
        evolution.note(step / 40, torch.full((3, 1, 2, 2), step / 255))
    evolution.finish(torch.full((3, 1, 2, 2), 40 / 255))
    evolution.finish(torch.zeros(3, 1, 2, 2))
    assert evolution.stacked()[:, :, 0, 0, 0].tolist() == [[i, i] for i in (0, 10, 20, 30, 40)]
    assert evolution.shares == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(DfkdError, match="at least 2"):
        Evolution(ImageSpec(1, 2, 2), moments=1)


def test_watching_changes_nothing_and_shows_both_resolutions():
    torch.manual_seed(1)
    results = []
    for watched in (False, True):
        oracle = coloured()
        synthesizer = DeepInversion(oracle, CONFIG, 0, classes=[1, 2])
        evolution = Evolution(oracle.spec, 13)
        for step in range(CONFIG.total_iterations):
            if watched:
                evolution.watch(synthesizer, step / CONFIG.total_iterations)
            synthesizer.step()
        results.append(synthesizer.finish().inputs)
    assert torch.equal(*results)
    evolution.finish(results[0])
    frames = evolution.stacked()
    assert frames.shape == (13, 4, 3, 12, 12)
    assert torch.equal(frames[-1], oracle.spec.encode(results[0]))
    halved = frames[0].reshape(4, 3, 6, 2, 6, 2)
    assert (halved == halved[:, :, :, :1, :, :1]).all()


@pytest.mark.parametrize(("frames", "shape"), [(7, (1, 8, 8)), (60, (3, 5, 9)), (2, (2, 300, 200))])
def test_an_animation_has_its_frames_and_repeats(tmp_path, frames, shape):
    images = torch.randint(0, 256, (frames, 3, *shape), dtype=torch.uint8)
    with Image.open(write_animation(tmp_path / "a.png", images)) as picture:
        assert (picture.n_frames, picture.info["loop"]) == (frames, 0)
        for index in range(frames):
            picture.seek(index)
        assert picture.info["duration"] == 1500
        if shape == (1, 8, 8):  # the first image of the last frame, square by square
            corner = np.asarray(picture.convert("L"))[8 : 8 + 8 * 14 : 14, 8 : 8 + 8 * 14 : 14]
            assert (corner == images[-1, 0, 0].numpy()).all()
    with pytest.raises(ValueError, match="1 to 60"):
        write_animation(tmp_path / "b.png", images[:1].expand(MOST_FRAMES + 1, -1, -1, -1, -1))


def test_slerp_keeps_to_the_arc():
    one, other = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(slerp(one, other, 0.0), one, atol=1e-5)
    assert torch.allclose(slerp(one, other, 1.0), other, atol=1e-5)
    middle = slerp(one, other, 0.5)
    assert middle.norm() == pytest.approx((one.norm() + other.norm()).item() / 2, rel=1e-4)
    assert torch.allclose(slerp(one, one, 0.3), one)


def test_small_images_stay_lossless_on_a_page():
    image = torch.randint(0, 256, (1, 1, 28, 20), dtype=torch.uint8)
    large = torch.randint(0, 256, (1, 3, 224, 100), dtype=torch.uint8)
    (small,), (reduced,) = thumbnails(image, ["a"]), thumbnails(large, ["b"])
    assert small.address.startswith("data:image/png;base64,")
    assert small.pixelated
    assert reduced.address.startswith("data:image/jpeg;base64,")
    assert len(reduced.address) < 30_000


# The run


def page_of(directory: Path) -> PageReader:
    """Read the page, which must be complete in itself."""
    return PageReader((directory / "report.html").read_text(encoding="utf-8"))


def test_channels_end_to_end(tmp_path):
    result = visualize(
        linear((SCRIPT, "b")), "channels", output=tmp_path / "run", layers=["1"], steps=5
    )
    assert [group.name for group in result.groups] == ["1"]
    assert result.groups[0].images.shape == (2, 1, 8, 8)
    assert {path.name for path in tmp_path.joinpath("run").iterdir()} == {
        "images", "manifest.json", "pictures.png", "report.html",
    }  # fmt: skip
    assert len(list((tmp_path / "run" / "images").iterdir())) == 2
    page = page_of(tmp_path / "run")
    assert page.tags.count("img") == 2
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert record["visualized"] == "channels"
    assert record["real_data"]["used"] is False
    assert record["teacher_hash_before"] == record["teacher_hash_after"]


def test_reconstruction_end_to_end(tmp_path):
    Image.fromarray((smooth_image(3, 30, 20) * 255).byte().permute(1, 2, 0).numpy()).save(
        tmp_path / "photo.jpg"
    )
    result = visualize(
        linear(), "reconstruction", output=tmp_path / "run", picture=tmp_path / "photo.jpg", steps=4
    )
    assert result.groups[0].captions[0] == "original"
    assert len(result.groups[0].images) == 1 + len(result.facts)
    record = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert record["real_data"] == {
        "used": True, "purpose": "photo.jpg, to be reconstructed; no training",
    }  # fmt: skip


def test_evolution_and_classes_end_to_end(tmp_path):
    teacher = coloured()
    teacher.task.names = (SCRIPT, *teacher.class_names[1:])
    result = visualize(
        teacher, "evolution", output=tmp_path / "e", classes=[0, 3], frames=5, steps=20
    )
    assert [path.name for path in result.files] == ["report.html", "pictures.png", "animation.png"]
    with Image.open(tmp_path / "e" / "animation.png") as picture:
        assert picture.n_frames == 5
    page = page_of(tmp_path / "e")
    assert SCRIPT in page.text
    assert "image/png" in page.kinds
    assert page.tags.count("img") == 2 * 5 + 1
    shown = visualize(teacher, output=tmp_path / "c", classes=[5, 1], count=3, steps=10)
    assert [len(group.images) for group in shown.groups] == [3, 3]
    assert 0 <= shown.facts["own_top1"] <= 1


def test_a_walk_visits_the_latents(tmp_path):
    result = visualize(
        coloured(), "walk", output=tmp_path / "w", method="dfad", steps=2, frames=9, seed=1
    )
    assert result.facts["stops"] == [0, 8]
    with Image.open(tmp_path / "w" / "animation.png") as picture:
        assert picture.n_frames == 9
    images = result.groups[0].images
    steps = (images[1:] - images[:-1]).abs().mean((1, 2, 3))
    assert steps.max() < (images[-1] - images[0]).abs().mean() + 1e-3  # no step is the whole way


REFUSED = {
    "layer": (("channels",), {"layers": ["conf1"]}, "no layer conf1 in the teacher: it has 0, 1"),
    "channel": (("channels",), {"layers": ["0"], "channels": [8]}, "has channels 0 to 7"),
    "class": (("classes",), {"classes": [6]}, "the teacher has classes 0 to 5"),
    "no picture": (("reconstruction",), {}, "give `picture`"),
    "picture": (("reconstruction",), {"picture": __file__}, "is no picture that can be read"),
    "another's": (("classes",), {"layers": ["0"]}, "`layers` belongs to `what=channels`"),
    "one class": (("walk",), {"classes": [1]}, "at least two `classes`"),
    "no generator": (("walk",), {"method": "drawings"}, "has no generator"),
    "method": (("walk",), {"method": "nayr"}, "did you mean 'nayer'"),
    "what": (("clases",), {}, "`what` must be classes, channels"),
    "frames": (("evolution",), {"frames": 61}, "`frames` must be in [2, 60]"),
    "steps": (("channels",), {"steps": 0}, "`steps` must be in [1, inf)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(case, tmp_path):
    words, options, hint = REFUSED[case]
    with pytest.raises(DfkdError) as caught:
        visualize(coloured(), *words, output=tmp_path / "run", **options)
    assert hint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) <= 300
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_statistics_or_gradient_is_told(tmp_path):
    with pytest.raises(DfkdError, match="need only its gradient"):
        visualize(linear(), output=tmp_path / "run")
    with pytest.raises(DfkdError, match="`method=dfad`"):
        visualize(linear(), "walk", output=tmp_path / "run")

    class Silent(nn.Module):
        def forward(self, images):
            return images.detach().flatten(1)[:, :3]

    with pytest.raises(DfkdError, match=r"take no_grad\(\) or detach\(\) out"):
        visualize(Teacher(Silent(), ImageSpec(1, 4, 4)), "channels", output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_directory_is_replaced_only_where_it_is_ours(tmp_path):
    options = {"layers": ["1"], "steps": 1}
    visualize(linear(), "channels", output=tmp_path / "run", **options)
    with pytest.raises(DfkdError, match="not empty"):
        visualize(linear(), "channels", output=tmp_path / "run", **options)
    visualize(linear(), "channels", output=Output(tmp_path / "run", overwrite=True), **options)
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(DfkdError, match=r"mine\.txt is something else"):
        visualize(linear(), "channels", output=Output(tmp_path / "run", overwrite=True), **options)


def test_the_command(tmp_path, capsys, monkeypatch):
    words = ["visualize", "bundled:digits_vgg", "--what", "channels", "--steps", "2"]
    assert main([*words, "--out", str(tmp_path / "run"), "--count", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "run" / "pictures.png")
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "x"), "--channels", "a"]) == 2
    assert "--channels wants indices" in capsys.readouterr().err
    step = DeepInversion.step

    def interrupted(self, student=None):
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, student)

    monkeypatch.setattr(DeepInversion, "step", interrupted)
    words[3] = "classes"
    assert main([*words, "--out", str(tmp_path / "x")]) == 130
    assert not (tmp_path / "x").exists()
