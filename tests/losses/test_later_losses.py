"""DIST, standardised logits, sigmoids, PKT, NST, ReviewKD, OFD: closed forms and properties."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from dfkd.errors import DfkdError
from dfkd.losses.binary import binary_divergence
from dfkd.losses.correlation import correlations
from dfkd.losses.kernel import probability_transfer, selectivity
from dfkd.losses.loss import Loss
from dfkd.losses.modifiers import MODIFIERS, standardised
from dfkd.losses.objective import Objective
from dfkd.losses.overhaul import Overhaul, gaussian_margin, observed_margin, partial_distance
from dfkd.losses.registry import LOSSES, find_loss
from dfkd.losses.review import Fusion, Review, hierarchical_context
from dfkd.networks import vgg
from dfkd.tasks import Classification, Prediction
from dfkd.teacher.folding import FoldedNorm
from dfkd.teacher.margins import norm_margins
from dfkd.teacher.outputs import Outputs, PairOutputs

seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def pearson(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.corrcoef(torch.stack([a, b]))[0, 1]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dist_is_one_minus_pearson_of_rows_and_of_columns(temperature):
    student, teacher = normal(0, 5, 3), normal(1, 5, 3)
    p, q = ((x / temperature).softmax(1) for x in (student, teacher))
    inter = sum(1 - pearson(p[i], q[i]) for i in range(5)) / 5
    intra = sum(1 - pearson(p[:, j], q[:, j]) for j in range(3)) / 3
    found = correlations(student, teacher, beta=2.0, gamma=0.5, temperature=temperature)
    torch.testing.assert_close(found, temperature**2 * (2 * inter + 0.5 * intra))


def test_a_row_of_weight_zero_is_as_if_it_were_not_there():
    student, teacher = normal(0, 6, 3), normal(1, 6, 3)
    weight = torch.tensor([1.0, 1, 1, 1, 0, 0])
    for loss in (correlations, binary_divergence):
        whole, part = loss(student, teacher, weight=weight), loss(student[:4], teacher[:4])
        torch.testing.assert_close(whole, part)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_sigmoids_have_the_gradient_of_their_cross_entropy(temperature):
    student, teacher = normal(0, 4, 3).requires_grad_(), normal(1, 4, 3)
    target = (teacher / temperature).sigmoid()
    wanted = F.binary_cross_entropy_with_logits(student / temperature, target, reduction="sum")
    entropy = F.binary_cross_entropy(target, target, reduction="sum")
    found = binary_divergence(student, teacher, temperature=temperature)
    torch.testing.assert_close(found, temperature**2 * (wanted - entropy) / 4)
    gradients = [torch.autograd.grad(x, student)[0] for x in (found, wanted)]
    torch.testing.assert_close(gradients[0], temperature**2 * gradients[1] / 4)


def test_a_constant_is_a_difference_to_sigmoids_alone():
    logits = normal(0, 4, 3)
    assert binary_divergence(logits + 2, logits) > 0.1
    assert correlations(logits + 2, logits).abs() < 1e-12


def test_standardised_logits_have_the_teachers_order_at_any_scale():
    student, teacher = (Outputs(Prediction(normal(seed, 4, 6))) for seed in (0, 1))
    stretched = student._replace(prediction=Prediction(3 * student.logits - 7))
    found = [
        find_loss("kd@std")(PairOutputs(teacher.logits, teacher, side, temperature=2.0))
        for side in (student, stretched)
    ]
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)
    z = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)
         for x in (student.logits, teacher.logits)]  # fmt: skip
    plain = PairOutputs(z[0], *(Outputs(Prediction(side)) for side in z[::-1]), temperature=2.0)
    torch.testing.assert_close(found[0], LOSSES["kd"](plain), rtol=1e-4, atol=0)


def test_equal_logits_have_a_finite_gradient():
    for logits in (torch.zeros(2, 4), torch.full((2, 4), 9.0), torch.zeros(2, 1)):
        leaf = logits.clone().requires_grad_()
        (standardised(leaf) * torch.arange(float(logits.shape[1]))).sum().backward()
        assert leaf.grad.isfinite().all()
        flat = logits.clone().requires_grad_()
        correlations(flat, torch.randn(logits.shape)).backward()
        assert flat.grad.isfinite().all()


def test_a_modifier_serves_makers_of_images_too():
    objective = Objective.parse("10*bn - kd@std + balance@std")
    assert [term.name for term in objective.terms] == ["bn", "kd@std", "balance@std"]
    assert "student.logits" in objective.needs
    teacher = Outputs(Prediction(torch.tensor([[100.0, 0.0], [0.0, 100.0]])))
    value = find_loss("balance@std")(PairOutputs(teacher.logits, teacher, task=Classification(2)))
    assert value.isfinite()
    for row in MODIFIERS.values():
        assert row.line
        assert row.weight > 0
        assert row.source[-4:].isdigit()


def test_what_takes_logits_is_known():
    named = {name for name, row in LOSSES.items() if row.of_logits}
    assert {"kd", "l1", "hard", "dist", "balance"} <= named
    assert not named & {"at", "rkd", "bn", "tv_l1"}
    assert isinstance(find_loss("kd"), Loss)


def test_shares_of_similarity_by_hand():
    # Cosines 1 and 0: similarities 1 and 1/2, shares 2/3 and 1/3; the student's are alike, 1/2.
    teacher, student = torch.eye(2), torch.ones(2, 1)
    wanted = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert probability_transfer(student, teacher).item() == pytest.approx(wanted, rel=1e-5)
    opposite = torch.tensor([[1.0], [-1.0]])
    assert probability_transfer(opposite, teacher).isfinite()
    assert probability_transfer(student[:1], teacher[:1]).item() == 0


@few
@given(seeds)
def test_turned_and_stretched_points_are_alike(seed):
    points = normal(seed, 5, 3)
    turned = points @ torch.linalg.qr(normal(seed + 1, 3, 3))[0]
    stretched = turned * normal(seed + 2, 5, 1).exp()
    assert probability_transfer(stretched, points) < 1e-9
    assert probability_transfer(normal(seed + 3, 5, 2), points) > 0


@few
@given(seeds, st.integers(1, 9), st.integers(1, 9))
def test_selectivity_is_the_distance_of_mean_outer_products(seed, ours, theirs):
    student, teacher = normal(seed, 2, ours, 2, 3), normal(seed + 1, 2, theirs, 2, 3)
    means = []
    for maps in (student, teacher):
        channels = F.normalize(maps.flatten(2), dim=2)
        means.append(torch.einsum("ncp,ncq->npq", channels, channels) / channels.shape[1])
    wanted = (means[0] - means[1]).square().sum((1, 2)).mean()
    torch.testing.assert_close(selectivity(student, teacher), wanted, rtol=1e-9, atol=1e-12)


def test_selectivity_sees_no_order_and_no_strength():
    maps = normal(0, 2, 4, 3, 3)
    assert selectivity(5 * maps[:, [2, 0, 3, 1]], maps).abs() < 1e-12


def test_pooled_differences_weigh_half_from_size_to_size():
    # A checkerboard is gone once it is pooled; a constant stays at all sizes.
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    zeros = torch.zeros(1, 1, 8, 8)
    assert hierarchical_context(board.view(1, 1, 8, 8), zeros).item() == pytest.approx(8 / 15)
    assert hierarchical_context(zeros + 3, zeros).item() == pytest.approx(9)
    # Of sizes 4, 2, 1 only those below the map's smaller side: 2 and 1 at 3 rows.
    rows = torch.tensor([1.0, -2.0, 1.0]).view(1, 1, 3, 1).expand(1, 1, 3, 8)
    halves = torch.tensor([[-0.5], [-0.5]]).square().mean().item()
    assert hierarchical_context(rows, torch.zeros(1, 1, 3, 8)).item() == pytest.approx(
        (2 + halves / 2) / 1.75
    )


def test_a_fusion_weighs_both_by_its_attention():
    fusion = Fusion(2, 3, 5, deeper=True).eval()
    nn.init.zeros_(fusion.attention.weight)
    fusion.attention.bias.data = torch.tensor([100.0, -100.0])
    maps, deeper = torch.rand(1, 2, 4, 6), torch.rand(1, 3, 2, 3)
    own, _ = fusion(maps, deeper)
    torch.testing.assert_close(own, fusion.enter(maps))
    fusion.attention.bias.data = -fusion.attention.bias.data
    torch.testing.assert_close(fusion(maps, deeper)[0], F.interpolate(deeper, (4, 6)))
    assert fusion(maps, deeper)[1].shape == (1, 5, 4, 6)


def test_the_deepest_teaches_what_is_above_it():
    student = [torch.rand(2, 2, 8, 8, requires_grad=True), torch.rand(2, 4, 4, 4).requires_grad_()]
    teacher = [torch.rand(2, 3, 8, 8), torch.rand(2, 6, 4, 4)]
    review = Review(student, teacher)
    assert [fusion.attention is None for fusion in review.fusions] == [False, True]
    _, shallow = review.fusions[0](student[0], review.fusions[1](student[1], None)[0])
    hierarchical_context(shallow, teacher[0]).backward()
    assert student[1].grad.abs().max() > 0


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (1.0, 2.0), (-2.0, 0.5), (2.5, 1.0)])
def test_the_margin_is_the_mean_below_zero(mean, deviation):
    values = mean + deviation * normal(0, 1, 1, 1, 1_000_000)
    found = gaussian_margin(torch.tensor([mean]), torch.tensor([deviation])).item()
    assert found == pytest.approx(observed_margin(values).item(), rel=0.02)


def test_a_channel_that_is_hardly_below_zero_has_three_deviations():
    mean, deviation = torch.tensor([10.0, -1.0, 1.0]), torch.tensor([2.0, 0.0, 0.0])
    assert gaussian_margin(mean, deviation).tolist() == pytest.approx([-6.0, -1.0, 0.0])


def test_partial_distance_by_hand():
    student = torch.tensor([-5.0, 1.0, -0.5, 2.0]).view(1, 1, 2, 2)
    teacher = torch.tensor([-2.0, -2.0, -0.7, 3.0]).view(1, 1, 2, 2)
    # Below a margin of -1 and off: nothing; above it: 2^2; -.5 above -.7; active: 1.
    found = partial_distance(student, teacher, torch.tensor([-1.0]))
    assert found.item() == pytest.approx((0 + 4 + 0.04 + 1) / 4)


def test_margins_are_those_of_the_last_norm_folded_or_not():
    network = vgg((4, 6), 1, 1, 3)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    first, second, none, entering = norm_margins(
        network, ["stages.0", "stages.1", "head", "stages.0.input"]
    )
    assert (none, entering) == (None, None)
    wanted = gaussian_margin(norms[0].bias.detach(), norms[0].weight.detach().abs())
    torch.testing.assert_close(first, wanted)
    folded = nn.Sequential(FoldedNorm(norms[0]), FoldedNorm(norms[1]))
    found = norm_margins(folded, ["0", "1"])
    torch.testing.assert_close(list(found), [first, second], rtol=1e-3, atol=1e-4)


def test_the_overhaul_measures_where_nobody_remembers():
    maps = [torch.randn(4, 3, 5, 5)]
    module = Overhaul(maps, maps, [None])
    given_margin = module(maps, maps, [observed_margin(maps[0])])
    torch.testing.assert_close(module(maps, maps, [None]), given_margin)
    assert module(maps, maps, [torch.zeros(3)]) != given_margin


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (correlations, [(4, 3), (4, 3)]),
        (binary_divergence, [(4, 3), (4, 3)]),
        (probability_transfer, [(4, 3), (4, 2)]),
        (selectivity, [(2, 3, 2, 2), (2, 4, 2, 2)]),
        (hierarchical_context, [(1, 2, 5, 5), (1, 2, 5, 5)]),
        (lambda s, t: partial_distance(s, t, t.new_full((2,), -0.5)), [(2, 2, 3, 3)] * 2),
    ],
)
def test_gradients_are_right_and_point_towards_the_teacher(loss, shapes):
    student, teacher = (normal(i, *shape).requires_grad_() for i, shape in enumerate(shapes))
    assert gradcheck(lambda s: loss(s, teacher.detach()), (student,), eps=1e-6, atol=1e-5)
    value = loss(student, teacher.detach())
    (gradient,) = torch.autograd.grad(value, student)
    assert value > 0
    assert loss(student - 1e-3 * gradient / gradient.norm(), teacher.detach()) < value


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (correlations, [(4, 3), (4, 2)]),
        (binary_divergence, [(4, 3), (1, 3)]),
        (probability_transfer, [(4, 3), (3, 3)]),
        (selectivity, [(2, 3, 2, 2), (2, 3, 2, 3)]),
        (hierarchical_context, [(1, 2, 5, 5), (1, 2, 5, 4)]),
        (lambda s, t: partial_distance(s, t, torch.zeros(2)), [(1, 2, 5, 5), (1, 2, 1, 1)]),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss, shapes):
    with pytest.raises(DfkdError, match=r"shape|same images|one height and width"):
        loss(*(torch.zeros(shape) for shape in shapes))
