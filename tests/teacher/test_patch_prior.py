"""The patch prior: what it taps, what it finds in constant and diverse images, who takes it."""

import pytest
import torch

import dfkd
from dfkd.errors import DfkdError
from dfkd.losses.patches import MOST_ENTROPY, patch_entropy
from dfkd.networks import vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.recipes.methods import METHODS
from dfkd.recipes.probe import probe
from dfkd.teacher import Teacher
from dfkd.teacher.priors import PRIORS, PatchPrior
from dfkd.teacher.spec import ImageSpec
from support.methods import build, make_student, make_vit
from support.networks import Encoder

NO_PATCHES = vgg((4, 8), 1, 1, 4)


def looked_into() -> Teacher:
    plain = make_vit()
    return Teacher(plain.network, plain.spec, prior="patch")


def test_the_record_is_what_attention_gives_for_the_patches():
    teacher, kept = looked_into(), []
    layers = [block.attn for block in teacher.network.blocks]
    handles = [x.register_forward_hook(lambda m, i, output: kept.append(output)) for x in layers]
    images = torch.rand(3, 1, 8, 8)
    trace = teacher.trace(images, statistics=True)
    for handle in handles:
        handle.remove()
    assert list(teacher.layers) == ["blocks.0.attn", "blocks.1.attn"]
    assert [value.shape for value in trace.statistics] == [(3, 16, 16)] * 2
    for value, output in zip(trace.statistics, kept, strict=True):
        assert torch.equal(value, output[:, 1:])
    missing = [MOST_ENTROPY - float(patch_entropy(value)) for value in trace.statistics]
    prior = teacher.prior
    assert float(prior.distance(trace.statistics)) == pytest.approx(sum(missing), rel=1e-5)
    assert float(prior.relative_distance(trace.statistics)) == pytest.approx(sum(missing) / 2)


def test_tokens_may_come_before_images():
    spec = ImageSpec(1, 16, 16)
    teacher = Teacher(Encoder(batch_first=False), spec, prior="patch")
    trace = teacher.trace(torch.rand(3, 1, 16, 16), statistics=True)
    assert [value.shape for value in trace.statistics] == [(3, 16, 16)] * 2


def test_a_constant_image_is_farther_than_noise():
    teacher = looked_into()
    grey, noise = torch.full((4, 1, 8, 8), 0.5), torch.rand(4, 1, 8, 8)
    far, near = (
        float(teacher.prior.distance(teacher.trace(x, statistics=True).statistics))
        for x in (grey, noise)
    )
    assert far > near


def test_the_network_comes_out_as_it_went_in():
    network = make_vit().restore()
    before = fingerprint(network), network.training
    prior = PatchPrior(network, ImageSpec(1, 8, 8))
    assert (fingerprint(network), network.training) == before
    assert prior.on(network).layers == prior.layers
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_that_attends_to_nothing_is_refused():
    with pytest.raises(DfkdError, match=r"`prior=patch`.*leave `prior` out"):
        Teacher(NO_PATCHES, ImageSpec(1, 8, 8), prior="patch")
    assert PRIORS["patch"].fits(make_vit().network)
    assert not PRIORS["patch"].fits(NO_PATCHES)


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.statistics])
def test_every_method_that_matches_statistics_takes_it(method):
    settings = {"first_bn_multiplier": 1.0} if method == "deep_inversion" else {}
    synthesizer = build(method, looked_into(), **settings)
    values = synthesizer.update(make_student())
    assert all(value.isfinite() for value in values.values())
    assert synthesizer.sample(3).inputs.shape == (3, 1, 8, 8)


@pytest.mark.parametrize("with_prior", [True, False])
def test_probe_says_what_a_transformer_can_teach(with_prior):
    found = probe(looked_into() if with_prior else make_vit())
    possible = {advice.name for advice in found.methods if advice.possible}
    matched = {name for name, row in METHODS.items() if row.statistics}
    assert {"redraw", "drawings", "smi", "dafl", "dfad"} <= possible
    assert ({"deep_inversion", "fast", "nayer"} <= possible) == with_prior
    assert with_prior or not matched & possible
    assert "16 patches" in found.advice("smi").reason


def test_images_are_pulled_to_more_entropy():
    """PSAQ-ViT's loss falls."""
    settings = {"batch_size": 8, "iterations": 60, "jitter": 1, "warmup": 0, "lr": 0.05}
    recipe = dfkd.recipe("psaq", synthesizer=settings)
    synthesizer = METHODS["deep_inversion"].build(looked_into(), recipe.synthesizer, 0)
    values = [float(synthesizer.update(make_student())["bn"]) for _ in range(60)]
    assert sum(values[-5:]) < 0.98 * sum(values[:5])


def test_the_default_corrects_no_drawing_by_it():
    teacher = looked_into()
    assert build("redraw", teacher, competition=0.0).update(make_student()) == {}
    assert set(build("redraw", teacher).update(make_student())) == {"loss", "js"}
    reason = probe(teacher).advice("redraw").reason
    assert reason.endswith("corrected by the student's disagreement")
