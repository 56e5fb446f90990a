"""What set is wanted: exact counts, even turns, seeds of their own, mixtures."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfkd.networks.seeding import seed_of
from dfkd.recipes import recipe
from dfkd.sets.class_turns import in_turn, mixed, shared_out
from dfkd.sets.order import SetOrder
from dfkd.synthesis.methods.deep_inversion_config import cda, sre2l
from support.inversion import teacher

NATURAL = recipe("natural")


@given(st.integers(0, 500), st.lists(st.floats(0.01, 10), min_size=1, max_size=9))
def test_shares_are_exact_and_nearest(total, weights):
    own = shared_out(total, weights)
    assert sum(own) == total
    for number, weight in zip(own, weights, strict=True):
        assert abs(number - total * weight / sum(weights)) < 1 + 1e-6


@given(st.lists(st.integers(0, 12), min_size=1, max_size=7))
def test_classes_take_turns_as_evenly_as_their_counts_allow(counts):
    order = in_turn(counts)
    assert Counter(order) == Counter({i: n for i, n in enumerate(counts) if n})
    for index, count in enumerate(counts):
        for end in range(len(order) + 1):
            share = count * end / max(1, len(order))
            assert abs(order[:end].count(index) - share) <= len(counts)


def test_seeds_are_fixed_and_apart():
    seeds = {seed_of(seed, shard) for seed in range(20) for shard in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of(5, 7) == seed_of(5, 0) + 7


@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_mixtures_are_probabilities_whose_own_class_leads(count, share, seed):
    classes = torch.arange(count) % 4
    rows = mixed(classes, share, 5, seed)
    assert torch.allclose(rows.sum(1), torch.ones(count))
    assert (rows.gather(1, classes[:, None]) >= 0.5).all()
    assert int((rows.max(1).values < 1).sum()) <= round(share * count)


def filled(values):
    order = SetOrder(**values)
    return order.sizes(sum(order.class_counts(teacher())))


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({}, "either `per_class` or `count`"),
        ({"per_class": 1, "count": 2}, "either `per_class` or `count`"),
        ({"per_class": 0}, "per_class"),
        ({"count": 5}, "6 classes and 5 images"),
        ({"per_class": 1, "priors": (1.0,)}, "`priors` share out `count`"),
        ({"count": 9, "priors": (1.0,)}, "a weight a class: 6"),
        ({"count": 9, "classes": (1, 2), "priors": (-1.0, 2.0)}, "not negative"),
        ({"count": 9, "classes": (1, 6)}, "out of range"),
        ({"count": 9, "classes": (1, 1)}, "each class once"),
        ({"count": 10**9, "shard_size": 1}, "raise `shard_size`"),
        ({"per_class": 1, "mixtures": 2.0}, "mixtures"),
        ({"per_class": 1, "mixtures": 0.5, "recipe": recipe("nayer")}, "no targets of its own"),
        ({"per_class": 1, "seed": -1}, "seed"),
    ],
)
def test_an_order_that_cannot_be_filled_is_refused(order, says):
    with pytest.raises(ValueError, match=says):
        filled({"recipe": NATURAL} | order)


def test_priors_may_leave_a_class_out():
    order = SetOrder(NATURAL, count=4, classes=(0, 5), priors=(0.0, 1.0))
    assert order.class_counts(teacher()) == [0, 0, 0, 0, 0, 4]


def test_shards_are_as_even_as_can_be():
    order = SetOrder(NATURAL, count=100, shard_size=32)
    assert order.sizes(100) == [25] * 4
    assert sum(order.sizes(101)) == 101


def test_crops_go_from_easy_to_hard():
    config = replace(cda(), iterations=100)
    shares = [config.crop_at(step) for step in range(101)]
    assert shares[0] == 1.0
    assert shares[-1] == pytest.approx(0.08)
    assert shares == sorted(shares, reverse=True)
    assert shares[50] == pytest.approx((1 + 0.08) / 2)
    assert sre2l().crop_at(0) == 0.08
