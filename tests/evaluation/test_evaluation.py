"""Accuracy, agreement, size and latency, against numbers counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from dfkd.datasets import LabelledImages, load_data
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import accuracy, agreement, predictions
from dfkd.evaluation.cost import file_size, flops, latencies, latency
from dfkd.evaluation.measurement import measure_networks
from dfkd.loading import load_model, load_teacher
from dfkd.networks import bilstm, vgg
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 8, 8, (0.5,), (0.25,))


class Reader(nn.Module):
    """Answers with a class that stands in the first pixel; counts its calls."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.shift, self.calls = shift, 0
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        pixel = ((x * 0.25 + 0.5) * 255).round()[:, 0, 0, 0].long()
        return self.dropout(nn.functional.one_hot((pixel + self.shift) % 4, 4).float() + 1)


def data() -> LabelledImages:
    images = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(8) % 4
    labels = torch.arange(8) % 4
    labels[:2] = 3
    return LabelledImages(images, labels, "by hand")


def test_predictions_normalise_once_and_leave_the_mode_alone() -> None:
    network = Reader().train()
    logits = predictions(network, SPEC, data().images, batch_size=3)
    assert logits.shape == (8, 4)
    assert network.calls == 3
    assert logits.argmax(1).tolist() == [0, 1, 2, 3] * 2
    assert network.training
    assert network.dropout.training


def test_a_teacher_and_its_network_predict_alike() -> None:
    teacher, bundled = load_teacher("bundled:digits_vgg"), load_data("bundled:digits_vgg")
    by_hand = teacher(bundled.images[:50].float() / 255)
    for model in (teacher, teacher.network):
        logits = predictions(model, teacher.spec, bundled.images[:50])
        torch.testing.assert_close(logits, by_hand)


def test_accuracy_and_agreement_are_shares() -> None:
    logits = predictions(Reader(), SPEC, data().images)
    shifted = predictions(Reader(1), SPEC, data().images)
    assert accuracy(logits, data().labels) == pytest.approx(6 / 8)
    assert agreement(logits, logits) == 1.0
    assert agreement(logits, shifted) == 0.0
    assert agreement(logits[:, :3], logits) == pytest.approx(6 / 8)
    with pytest.raises(DfkdError, match="label 3 in the data, and 3 classes"):
        accuracy(logits[:, :3], data().labels)


def test_the_bundled_teacher_is_as_good_as_it_says() -> None:
    teacher, bundled = load_teacher("bundled:digits_vgg"), load_data("bundled:digits_vgg")
    logits = predictions(teacher, teacher.spec, bundled.images)
    assert accuracy(logits, bundled.labels) == pytest.approx(0.9962, abs=0.002)


def test_file_size_is_that_of_the_weights() -> None:
    network = nn.Linear(100, 10)
    assert 4 * 1010 < file_size(network) < 4 * 1010 + 400


def test_latency_takes_turns_and_leaves_the_mode_alone() -> None:
    first, second = Reader().train(), Reader()
    times = latencies([(first, SPEC), (second, SPEC)], 4, rounds=5)
    assert first.calls == second.calls == 2 + 5
    assert first.training
    wrong = ImageSpec(3, 8, 8)
    convolution = nn.Sequential(nn.Conv2d(1, 4, 3)).train()
    with pytest.raises(DfkdError, match=r"does not accept 3x8x8 images .*; set `image`"):
        latencies([(convolution, wrong)], 4)
    assert convolution.training
    assert all(0 < time < 1000 for time in times)
    assert latency(vgg((4, 8), 1, 1), SPEC, 2, rounds=3) > 0


def test_measure_puts_networks_side_by_side() -> None:
    rows = measure_networks([("right", Reader(), SPEC), ("wrong", Reader(1), SPEC)], data())
    assert [row.name for row in rows] == ["right", "wrong"]
    assert rows[0].accuracy == pytest.approx(6 / 8)
    assert [row.agreement for row in rows] == [1.0, 0.0]
    assert all(row.parameters == 0 and row.file_bytes > 0 for row in rows)
    assert all(row.latency_ms_1 > 0 and row.latency_ms_32 > 0 for row in rows)


def test_measure_refuses_what_cannot_be_measured() -> None:
    with pytest.raises(DfkdError, match="at least one MODEL"):
        measure_networks([], data())
    with pytest.raises(DfkdError, match="takes 3x8x8"):
        measure_networks([("colour", Reader(), ImageSpec(3, 8, 8))], data())
    labels = torch.full((8,), 9)
    with pytest.raises(DfkdError, match="label 9 and the model has 4 classes"):
        measure_networks([("few", Reader(), SPEC)], LabelledImages(data().images, labels, "d"))


def test_measuring_changes_no_bit() -> None:
    loaded = load_model("bundled:digits_vgg")
    assert loaded.spec is not None
    before = {key: value.clone() for key, value in loaded.network.state_dict().items()}
    loaded.network.train()
    measure_networks([("net", loaded.network, loaded.spec)], load_data("bundled:digits_vgg"))
    after = loaded.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_operations_of_recurrent_networks_are_counted() -> None:
    frames, hidden, rows, classes = 32, 64, 12, 9
    gates = 2 * 4 * hidden * (rows + hidden)  # two a multiply-add, four gates
    wanted = 2 * frames * gates + 2 * 2 * hidden * classes  # in both directions, and the head
    assert flops(bilstm(hidden, 1, rows, 1, classes), ImageSpec(1, rows, frames)) == wanted
    network = nn.Sequential(nn.Flatten(2), nn.GRU(6, 5, batch_first=True))
    assert flops(network, ImageSpec(4, 2, 3)) == 4 * 2 * 3 * 5 * (6 + 5)
