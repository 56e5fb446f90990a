"""Views: the same numbers show the same picture, whatever it is shown beside."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfkd.datasets.written.drawn_views import draw_views
from dfkd.datasets.written.views import ViewConfig, plain_views, show_views
from dfkd.errors import DfkdError

COUNT = 12
IMAGES = (torch.rand(COUNT, 3, 8, 10, generator=torch.Generator().manual_seed(0)) * 255).byte()
ALL = torch.arange(COUNT)


def shown(views, indices=ALL):
    return show_views(IMAGES.__getitem__, views, indices)


def test_plain_views_are_the_images():
    assert torch.equal(shown(plain_views(COUNT)), IMAGES.float() / 255)


@given(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=9), st.integers(0, 50))
def test_a_view_depends_on_no_other_image_of_the_batch(indices, epoch):
    views = draw_views(COUNT, ViewConfig(flip=0.5), seed=1, epoch=epoch)
    some = torch.tensor(indices)
    assert torch.equal(shown(views, some), shown(views)[some])


def test_epochs_and_seeds_have_views_of_their_own():
    first, again, later, other = (
        draw_views(COUNT, ViewConfig(), seed, epoch)
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first.box, again.box)
    assert not torch.equal(first.box, later.box)
    assert not torch.equal(first.box, other.box)


def test_every_view_is_mirrored_where_all_are():
    views = draw_views(COUNT, ViewConfig(crop=1.0, flip=1.0, light=0.0, mix=0.0), 0, 0)
    assert torch.equal(shown(views), IMAGES.flip(-1).float() / 255)


def test_a_crop_shows_what_lies_in_its_box():
    ramp = torch.linspace(0, 250, 11)[:10].round().byte().expand(COUNT, 1, 8, 10)
    views = draw_views(COUNT, ViewConfig(crop=0.3, light=0.0, mix=0.0), 0, 0)
    cut = show_views(ramp.__getitem__, views, ALL)[:, 0, 0] * 255 / 25
    left, right = (views.box[:, i] / 65535 * 10 for i in (0, 2))
    assert torch.allclose(cut[:, 0], left, atol=0.05)
    assert torch.allclose(cut[:, -1], right - 1, atol=0.05)


def test_crops_keep_their_share_of_the_area():
    box = draw_views(2000, ViewConfig(crop=0.4), 0, 0).box.double() / 65535
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    assert area.min() > 0.33  # a side that would not fit is the image's own
    assert area.max() <= 1
    assert 0.6 < area.mean() < 0.75


def test_light_is_a_factor_of_both():
    views = plain_views(COUNT)
    brighter = views._replace(light=torch.tensor([[1.1, 1.0]]).half().expand(COUNT, 2))
    assert torch.allclose(shown(brighter), (IMAGES.float() / 255 + 0.1).clamp(0, 1), atol=2e-3)
    flatter = views._replace(light=torch.tensor([[1.0, 0.5]]).half().expand(COUNT, 2))
    assert torch.allclose(shown(flatter), IMAGES.float() / 255 * 0.5, atol=1e-3)


def test_a_patch_comes_from_the_partners_view():
    views = plain_views(COUNT)
    half = torch.tensor([0, 0, 32768, 65535], dtype=torch.int32).expand(COUNT, 4)
    mixed = shown(views._replace(partner=ALL.roll(1).int(), patch=half))
    plain = IMAGES.float() / 255
    assert torch.equal(mixed[..., :5], plain[ALL.roll(1)][..., :5])
    assert torch.equal(mixed[..., 5:], plain[..., 5:])


def test_as_many_are_mixed_as_asked():
    views = draw_views(4000, ViewConfig(mix=0.25), 0, 0)
    share = (views.partner != torch.arange(4000)).float().mean()
    assert share == pytest.approx(0.25, abs=0.03)
    assert torch.equal(draw_views(1, ViewConfig(mix=1.0), 0, 0).partner, torch.zeros(1).int())


@pytest.mark.parametrize("wrong", [{"crop": 0.0}, {"flip": 2.0}, {"light": 1.0}, {"mix": -0.1}])
def test_what_is_out_of_range_is_refused(wrong):
    with pytest.raises(DfkdError, match=next(iter(wrong))):
        ViewConfig(**wrong)
