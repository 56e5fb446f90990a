"""What the teacher says of changes of an image, on networks whose invariances are known."""

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.heldout import HeldOut
from dfkd.evaluation.invariances import CHANGES, HARMLESS, ask_invariances, keeps
from dfkd.teacher.spec import quantize

SIDE = 16


class Measure(nn.Module):
    """Two classes: whether a number that is computed from an image is above its usual value."""

    def __init__(self, number, usual):
        super().__init__()
        self.number, self.usual = number, usual
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        shown = self.number(x) - self.usual
        return self.scale * torch.stack([shown, -shown], 1)


def left(x):
    return x[..., : SIDE // 2].mean((1, 2, 3)) - x[..., SIDE // 2 :].mean((1, 2, 3))


def top(x):
    return x[..., : SIDE // 2, :].mean((1, 2, 3)) - x[..., SIDE // 2 :, :].mean((1, 2, 3))


def red(x):
    return x[:, 0].mean((1, 2)) - x[:, 1:].mean((1, 2, 3))


def light(x):
    return x.mean((1, 2, 3))


BREAKS = {
    "left": (left, {"mirror", "half_turn", "quarter_turn", "negative"}),
    "top": (top, {"upside_down", "half_turn", "quarter_turn", "negative"}),
    "red": (red, {"channels", "negative"}),
    "light": (light, {"brightness", "negative"}),
}
STAYS = {"mirror", "upside_down", "half_turn", "quarter_turn", "channels", "negative"}


def blobs(channels=3):
    """A light blob on one side of each image, of one colour."""
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.04 * torch.rand(64, channels, SIDE, SIDE, generator=generator)
    for number, image in enumerate(images):
        row, column = 1 + 8 * (number // 2 % 2), 1 + 8 * (number % 2)
        image[number % channels, row : row + 6, column : column + 6] += 0.4
    return quantize(images)


@pytest.mark.parametrize("name", BREAKS)
def test_what_a_network_looks_at_is_what_it_is_not_invariant_to(name):
    number, broken = BREAKS[name]
    images = blobs()
    usual = number(images.float() / 255).median() if name in ("light", "red") else 0.0
    teacher = dfkd.Teacher(Measure(number, usual), dfkd.ImageSpec(3, SIDE, SIDE))
    answers = ask_invariances(
        teacher, HeldOut(images, teacher(images.float() / 255), {"corrected": 64, "drawn": 0})
    )
    assert answers[HARMLESS].holds
    assert {n for n, answer in answers.items() if not answer.holds} & {*STAYS, *broken} == broken
    for answer in answers.values():
        assert 0 <= answer.low <= answer.kept <= answer.high <= 1


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (1, 1, 32), (3, 32, 32)])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_gives_other_images_of_the_same_kind(name, shape):
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    if not CHANGES[name].fits(shape):
        assert name in ("channels", "quarter_turn")
        return
    first, again = (CHANGES[name].variants(images) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.shape == images.shape
        assert one.min() >= 0
        assert one.max() <= 1
        assert torch.equal(one, other)
        assert shape[1] == 1 or not torch.equal(one, images)
    assert torch.equal(images, before)


def test_only_what_is_named_is_asked_and_the_harmless_change():
    images = blobs(1)
    teacher = dfkd.Teacher(Measure(light, 0.5), dfkd.ImageSpec(1, SIDE, SIDE))
    held_out = HeldOut(images, teacher(images.float() / 255), {"corrected": 32, "drawn": 32})
    assert list(ask_invariances(teacher, held_out, ["mirror"])) == [HARMLESS, "mirror"]
    with pytest.raises(DfkdError, match="no change is called 'miror'; did you mean 'mirror'"):
        ask_invariances(teacher, held_out, ["miror"])


def test_where_a_pixel_changes_the_class_nothing_holds():
    assert keeps(0.8, 1.0)
    assert not keeps(0.79, 1.0)
    assert not keeps(1.0, 0.79)


def test_probe_has_them_where_they_are_asked():
    teacher = dfkd.load_teacher("bundled:vowels_vgg")
    assert dfkd.probe(teacher).invariances == ()
    found = {one.name: one for one in dfkd.probe(teacher, invariances=True).invariances}
    assert found["mirror"].holds
    assert not found["negative"].holds
    assert "channels" not in found
