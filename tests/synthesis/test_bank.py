"""The image bank: bounded, exact about what it stores, and resumable."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.errors import DfkdError
from dfkd.synthesis.balanced import by_class
from dfkd.synthesis.bank import ImageBank
from dfkd.teacher.spec import ImageSpec, quantize
from support.methods import same as alike

SPEC = ImageSpec(1, 2, 3)


def bank(capacity: int = 7, seed: int = 0) -> ImageBank:
    return ImageBank(capacity, SPEC, 4, seed)


def fill(store: ImageBank, *sizes: int) -> None:
    """Add batches whose targets count on, with logits and grey values to match."""
    for size in sizes:
        targets = torch.arange(store.total, store.total + size)
        grey = (targets % 256).float().div(255).view(-1, 1, 1, 1).expand(-1, *SPEC.shape)
        store.add(grey, targets.float()[:, None].expand(-1, 4), targets)


def same(left, right) -> bool:
    return alike(left[:3], right[:3])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 15), min_size=1, max_size=6))
def test_it_holds_the_latest_and_no_more(capacity, sizes):
    store = bank(capacity)
    fill(store, *sizes)
    total = sum(sizes)
    assert store.total == total
    assert len(store) == min(total, capacity)
    batch = store.sample(len(store))
    latest = range(total - len(store), total)
    assert sorted(batch.target.tolist()) == list(latest)
    # Rows stay together: an image, its logits and its target.
    assert torch.equal(batch.inputs[:, 0, 0, 0].mul(255).round().long(), batch.target % 256)
    assert torch.equal(batch.prediction.logits[:, 2].long(), batch.target)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), max_size=3),
    st.integers(1, 20),
)
def test_a_resumed_bank_goes_on_exactly(before, after, count):
    store = bank()
    fill(store, *before)
    store.sample(count)
    state = store.state_dict()
    resumed = bank(seed=99)
    resumed.load_state_dict(state)
    assert resumed.total == store.total
    for other in (store, resumed):
        fill(other, *after)
    for _ in range(2):
        assert same(store.sample(count), resumed.sample(count))


def test_a_state_is_a_copy_of_the_filled_part():
    store = bank(100)
    fill(store, 3)
    state = store.state_dict()["columns"]
    assert state["inputs"].shape == (3, *SPEC.shape)
    assert state["inputs"].dtype == torch.uint8
    kept = state["target"].clone()
    fill(store, 100)
    assert torch.equal(state["target"], kept)
    assert state["inputs"].untyped_storage().nbytes() == 3 * 6


def test_a_state_survives_a_file(tmp_path):
    store = bank()
    fill(store, 5)
    torch.save(store.state_dict(), tmp_path / "bank.pt")
    resumed = bank()
    resumed.load_state_dict(torch.load(tmp_path / "bank.pt", weights_only=True))
    assert same(store.sample(4), resumed.sample(4))


def test_a_state_of_another_bank_is_refused():
    store = bank(10)
    fill(store, 8)
    with pytest.raises(DfkdError, match="holds inputs of"):
        bank(7).load_state_dict(store.state_dict())
    with pytest.raises(DfkdError, match="holds logits of"):
        ImageBank(10, SPEC, 5, 0).load_state_dict(store.state_dict())


def test_quantize_is_the_nearest_of_256_values_and_idempotent():
    images = torch.tensor([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 1.2])
    assert quantize(images).tolist() == [0, 0, 0, 1, 128, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantize(every.float().div(255)), every)
    assert torch.equal(quantize(every), every)


def test_what_comes_back_is_the_quantised_image():
    images = torch.rand(5, *SPEC.shape)
    stored = quantize(images).float().div(255)
    store = bank(5)
    store.add(images, torch.zeros(5, 4), torch.arange(5))
    batch = store.sample(5)
    assert torch.equal(batch.inputs, stored[batch.target])
    assert (batch.inputs - images[batch.target]).abs().max() <= 0.5 / 255 + 1e-7


def test_logits_come_back_to_three_digits_and_finite():
    store = bank()
    logits = torch.tensor([[1.2345, -20.5, 1e9, float("-inf")]])
    store.add(torch.rand(1, *SPEC.shape), logits, torch.tensor([0]))
    back = store.sample(1).prediction.logits
    assert back.dtype == torch.float32
    torch.testing.assert_close(back[:, :2], logits[:, :2], rtol=1e-3, atol=0)
    assert back.isfinite().all()


def test_sampling_repeats_only_when_it_must():
    store = bank(50)
    fill(store, 20)
    assert len(set(store.sample(20).target.tolist())) == 20
    many = store.sample(200)
    assert len(many.inputs) == 200
    assert set(many.target.tolist()) <= set(range(20))


def test_sampling_follows_the_seed_and_leaves_torch_alone():
    stores = [bank(seed=1), bank(seed=1), bank(seed=2)]
    for store in stores:
        fill(store, 7)
    state = torch.get_rng_state()
    first, again, other = (store.sample(50) for store in stores)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first, again)
    assert not same(first, other)


def test_what_does_not_fit_is_refused_and_nothing_is_stored():
    store = bank()
    images, logits, targets = torch.rand(2, *SPEC.shape), torch.zeros(2, 4), torch.arange(2)
    with pytest.raises(DfkdError, match=r"wants inputs of \(2, 1, 2, 3\), not \(2, 1, 3, 2\)"):
        store.add(images.transpose(2, 3), logits, targets)
    with pytest.raises(DfkdError, match="wants logits"):
        store.add(images, logits[:, :3], targets)
    with pytest.raises(DfkdError, match="wants target of"):
        store.add(images, logits, targets[:1])
    assert len(store) == store.total == 0
    with pytest.raises(DfkdError, match="empty"):
        store.sample(1)
    with pytest.raises(DfkdError, match="at least one"):
        bank(0)


def test_a_balanced_sample_shows_rare_classes_as_often_as_frequent_ones():
    store = bank(100)
    targets = torch.tensor([0] * 60 + [1] * 5 + [3])
    store.add(torch.rand(66, *SPEC.shape), torch.zeros(66, 4), targets)
    assert store.class_counts().tolist() == [60, 5, 0, 1]
    shown = torch.bincount(store.sample(3000, balanced=True).target, minlength=4)
    assert shown[2] == 0
    assert ((shown[[0, 1, 3]] - 1000).abs() < 120).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(6, 9))
def test_a_balanced_draw_is_exactly_one_over_the_images_of_a_class(labels, classes):
    """All pairs of draws over a whole period: shares are counted, not estimated."""
    targets = torch.tensor(labels)
    counts = torch.bincount(targets, minlength=classes)
    present = [int(count) for count in counts if count]
    period = math.lcm(*present)
    draws = torch.cartesian_prod(torch.arange(len(present)), torch.arange(period)).T
    shown = torch.bincount(by_class(targets, counts).drawn(draws), minlength=len(labels))
    assert shown.tolist() == [period // int(counts[label]) for label in labels]


def test_a_balanced_draw_follows_what_was_added_since():
    store = bank(4)
    for target in (0, 1, 2):
        store.add(torch.rand(4, *SPEC.shape), torch.zeros(4, 4), torch.full((4,), target))
        assert set(store.sample(20, balanced=True).target.tolist()) == {target}
