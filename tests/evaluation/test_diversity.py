"""Diversity, distances and coverings of points, against closed forms and brute force."""

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import nn

from dfkd.errors import DfkdError
from dfkd.evaluation.covering import coverage_radius, k_centre
from dfkd.evaluation.diversity import class_diversity, mean_cosine, vendi_score
from dfkd.evaluation.frechet import frechet_distance, kernel_distance
from dfkd.evaluation.manifolds import manifold_overlap
from dfkd.evaluation.penultimate import ANSWERS, look_at
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_vendi_counts_what_is_different(count):
    assert vendi_score(torch.rand(1, 9).expand(count, 9)) == pytest.approx(1)
    assert vendi_score(3 * torch.eye(9)[:count]) == pytest.approx(count)
    twice = torch.cat([torch.eye(9)[:count]] * 2)
    assert vendi_score(twice) == pytest.approx(count)  # twins are no news


def test_vendi_of_two_is_that_of_their_angle():
    """K / 2 of a pair at cosine c has the eigenvalues (1 + c) / 2 and (1 - c) / 2."""
    one, other = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    shares = torch.tensor([0.8, 0.2], dtype=torch.double)
    entropy = -(shares * shares.log()).sum()
    assert vendi_score(torch.stack([one, 5 * other])) == pytest.approx(float(entropy.exp()))


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_vendi_and_cosine_are_those_of_the_whole_kernel(shape):
    features = torch.randn(shape, dtype=torch.double)
    kernel = torch.cosine_similarity(features[:, None], features[None], dim=-1)
    values = torch.linalg.eigvalsh(kernel / len(features)).clamp_min(1e-300)
    assert vendi_score(features) == pytest.approx(float((-(values * values.log()).sum()).exp()))
    pairs = kernel[~torch.eye(len(features), dtype=torch.bool)]
    assert mean_cosine(features) == pytest.approx(float(pairs.mean()))


def test_features_that_are_all_zero_are_no_accident():
    assert vendi_score(torch.zeros(3, 4)) == pytest.approx(1)
    assert vendi_score(torch.cat([torch.eye(3), torch.zeros(2, 3)])) == pytest.approx(3)


def test_classes_count_alike_and_single_images_say_nothing():
    features = torch.cat([torch.eye(4), torch.ones(2, 4), torch.rand(1, 4)])
    found = class_diversity(features, torch.tensor([2] * 4 + [0] * 2 + [5]))
    assert found is not None
    assert found.vendi == pytest.approx((4 + 1) / 2)
    assert found.cosine == pytest.approx((0 + 1) / 2)
    assert (found.classes, found.images) == (2, (2, 4))
    assert class_diversity(features[-2:], torch.tensor([0, 1])) is None


def exactly(mean, covariance, count=400):
    """Points whose sample mean and covariance are exactly these."""
    points = torch.randn(count, len(mean), dtype=torch.double)
    points -= points.mean(0)
    whitened = points @ torch.linalg.inv(torch.linalg.cholesky(points.T.cov())).T
    return whitened @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_gaussians_is_the_closed_form():
    means = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]], dtype=torch.double)
    one = torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.double))
    other = torch.diag(torch.tensor([4.0, 4.0, 1.0], dtype=torch.double))
    found = frechet_distance(exactly(means[0], one), exactly(means[1], other))
    # Diagonal: the squared distance of the means, and of the standard deviations.
    assert found == pytest.approx((9 + 0 + 4) + (1 + 0 + 4), rel=1e-6)


def test_frechet_of_gaussians_that_do_not_commute():
    factors = torch.randn(2, 4, 4, dtype=torch.double)
    one, other = (f @ f.T + torch.eye(4) for f in factors)
    zero = torch.zeros(4, dtype=torch.double)
    found = frechet_distance(exactly(zero, one), exactly(zero, other))
    root = torch.as_tensor(sqrtm((one @ other).numpy()).real)
    assert found == pytest.approx(float((one + other - 2 * root).trace()), rel=1e-6)


def test_distances_know_equals_and_strangers():
    state = torch.random.get_rng_state()
    points = torch.randn(300, 6)
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-9)
    near, far = kernel_distance(points[:150], points[150:]), kernel_distance(points, points + 2)
    assert abs(near.mean) < 0.1 < 10 * 0.1 < far.mean
    assert near.subset == 150
    torch.random.set_rng_state(state)
    before = torch.random.get_rng_state()
    assert kernel_distance(points, points + 2) == far
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("most", [10_000, 40])
def test_overlap_of_equals_is_whole_and_of_strangers_none(most):
    points = torch.randn(120, 5)
    same = manifold_overlap(points, points, most=most)
    assert same.images == min(120, most)
    if most > 120:
        assert same[:2] == (1, 1)
    assert manifold_overlap(points, points + 100, most=most)[:2] == (0, 0)


def test_overlap_tells_too_narrow_from_too_wide():
    """Two clusters of real images, of which only one is made; and the other way round."""
    left = torch.randn(60, 3)
    both = torch.cat([left[:30], left[30:] + 100])
    narrow, wide = manifold_overlap(left, both), manifold_overlap(both, left)
    assert narrow.recall == wide.precision < 0.6
    assert narrow.precision == wide.recall > 0.8


def test_overlap_needs_neighbours_and_bears_twins():
    with pytest.raises(DfkdError, match="more than 3"):
        manifold_overlap(torch.rand(3, 2), torch.rand(9, 2))
    twins = torch.full((9, 4), 1e4 / 3)
    assert manifold_overlap(twins, twins)[:2] == (1, 1)


def test_centres_on_a_line_are_its_ends():
    line = torch.tensor([0.0, 1, 2, 3, 4, 5, 10])[:, None]
    assert sorted(k_centre(line, 2).tolist()) == [0, 6]
    assert sorted(k_centre(line, 3).tolist()) == [0, 5, 6]
    assert coverage_radius(line, torch.tensor([0, 6])) == 5


def test_twins_are_chosen_last_and_never_twice():
    points = torch.tensor([0.0, 0, 0, 1, 1])[:, None]
    chosen = k_centre(points, 5).tolist()
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    assert {float(points[i]) for i in chosen[:2]} == {0, 1}
    assert coverage_radius(points, torch.tensor([0, 3])) == 0


points_of_a_plane = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=2, max_size=8
)


@given(points_of_a_plane, st.data())
def test_greedy_centres_are_at_most_twice_the_best(points, data):
    positions = torch.tensor(points, dtype=torch.double)
    count = data.draw(st.integers(1, len(points)))
    chosen = k_centre(positions, count)
    assert len(set(chosen.tolist())) == count
    distances = torch.cdist(positions, positions)
    best = min(
        float(distances[:, list(kept)].amin(1).max())
        for kept in combinations(range(len(points)), count)
    )
    radius = coverage_radius(positions, chosen)
    assert radius == pytest.approx(float(distances[:, chosen].amin(1).max()), abs=1e-6)
    assert radius <= 2 * best + 1e-6


def network(*head):
    layers = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), *head)
    return Teacher(layers, ImageSpec(1, 6, 6))


def test_features_are_what_enters_the_classifier_else_the_answers():
    images = torch.randint(0, 256, (150, 1, 6, 6), dtype=torch.uint8)
    plain = network(nn.Flatten(), nn.Linear(5, 3))
    seen = look_at(plain, [images[:100], images[100:]])
    with torch.no_grad():
        inner = plain.network[:-1](plain.spec.normalize(images / 255))
    assert torch.allclose(seen.features, inner, atol=1e-6)
    assert torch.allclose(seen.logits, plain(images / 255).detach(), atol=1e-6)
    assert seen.layer == "4.input"
    unusual = network(nn.Conv2d(5, 3, 1), nn.Flatten())
    seen = look_at(unusual, [images])
    assert (seen.layer, seen.features.shape) == (ANSWERS, (150, 3))
    assert torch.equal(seen.features, seen.logits)


def test_features_that_are_not_finite_are_refused():
    broken = network(nn.Flatten(), nn.Linear(5, 3))
    with torch.no_grad():
        broken.network[0].bias.fill_(torch.inf)
    with pytest.raises(DfkdError, match="not finite"):
        look_at(broken, [torch.rand(2, 1, 6, 6)])
