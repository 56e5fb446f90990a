"""Priors by name: packs, another network's statistics, shifted norms; and files that are none."""

import json

import pytest
import torch
from safetensors.torch import save
from torch import nn

from dfkd.errors import DfkdError
from dfkd.loading import load_teacher
from dfkd.losses.statistics import scale_free_distance
from dfkd.networks import initialise, vgg
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload, compile_teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.pack import ENTRY, Pack, PackedLayer, write_pack
from dfkd.teacher.priors import PRIORS, NoPrior, find_prior, named_prior, suggestion
from dfkd.teacher.priors.norm_shift import aligned
from dfkd.teacher.priors.pack import PackPrior
from dfkd.teacher.recompute import recomputing
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 8, 8, (0.5,), (0.25,))


class Tokens(nn.Module):
    """Patches as tokens, layer-norms, one of them called twice; no statistics are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 6, 2, 2)
        self.norm, self.last = nn.LayerNorm(6), nn.LayerNorm(6)
        self.mix, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.mix(self.norm(tokens)).relu()
        tokens = tokens + self.mix(self.norm(tokens)).relu()
        return self.head(self.last(tokens).mean(1))


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, *SPEC.shape, generator=torch.Generator().manual_seed(0))


def tokens() -> Teacher:
    return Teacher(initialise(Tokens(), 0), SPEC)


def convolutions(prior=None) -> Teacher:
    network = initialise(vgg((4, 6), 1, 1, 4), seed=1).eval()
    return Teacher(network, SPEC, prior=prior)


def packed(teacher: Teacher, *labels: str, axis: int = -1, channels: int = 6) -> Pack:
    generator = torch.Generator().manual_seed(3)
    layers = tuple(
        PackedLayer(
            label, axis, torch.randn(channels, generator=generator),
            torch.rand(channels, generator=generator) + 0.5,
        )
        for label in labels
    )  # fmt: skip
    return Pack(teacher.fingerprint(), 10, layers)


def test_a_packs_distance_is_that_of_tokens_at_every_call():
    plain = tokens()
    pack = packed(plain, "norm", "norm@1", "last")
    teacher = Teacher(plain.network, SPEC, prior=PackPrior(plain.network, pack))
    x = images().requires_grad_()
    record = teacher.trace(x, statistics=True).statistics
    assert [one.name for one in record] == ["norm", "norm@1", "last"]
    network = plain.network
    first = network.embed(SPEC.normalize(x)).flatten(2).transpose(1, 2)
    second = first + network.mix(network.norm(first)).relu()
    for one, inputs, stored in zip(record, (first, second), pack.layers, strict=False):
        torch.testing.assert_close(one.mean, inputs.mean((0, 1)))
        torch.testing.assert_close(one.var, inputs.var((0, 1), correction=0))
        assert torch.equal(one.running_mean, stored.mean)
    distance = teacher.prior.relative_distance(record)
    torch.testing.assert_close(distance, scale_free_distance(record))
    distance.backward()
    assert float(x.grad.abs().sum()) > 0
    assert teacher.remembers
    assert teacher.held == ""


def test_a_pack_of_batch_norms_own_statistics_is_their_prior_folded_compiled_and_recomputed():
    plain = convolutions()
    layers = tuple(
        PackedLayer(name, 1, layer.running_mean + 1, layer.running_var * 2)
        for name, layer in plain.layers.items()
    )
    prior = PackPrior(plain.network, Pack(plain.fingerprint(), 10, layers))
    teacher = Teacher(plain.network, SPEC, prior=prior)
    x = images()
    expected = teacher.trace(x, statistics=True).statistics
    folded = fold(teacher)
    assert not any(folded.reasons.values())
    eager = compile_teacher(folded.teacher, "off", Workload((tuple(x.shape),))).teacher
    for other in (eager, recomputing(folded.teacher), recomputing(teacher)):
        assert isinstance(other.prior, PackPrior)
        found = other.trace(x, statistics=True).statistics
        for one, wanted in zip(found, expected, strict=True):
            assert one.name == wanted.name
            torch.testing.assert_close(one.mean, wanted.mean, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(one.var, wanted.var, rtol=1e-3, atol=1e-4)
            assert torch.equal(one.running_var, wanted.running_var)


def test_another_networks_statistics_are_named_as_such_and_measure_its_images():
    teacher = load_teacher("bundled:fashion_resnet20", prior="external:bundled:digits_vgg")
    assert teacher.prior_note.startswith("external bundled:digits_vgg ")
    assert "other data" in teacher.prior.told
    assert "1x28x28 images are brought to its 1x8x8" in teacher.prior.told
    x = torch.rand(4, 1, 28, 28).requires_grad_()
    trace = teacher.trace(x, statistics=True)
    assert all(one.name.startswith("external ") for one in trace.statistics)
    teacher.prior.relative_distance(trace.statistics).backward()
    assert float(x.grad.abs().sum()) > 0
    torch.testing.assert_close(trace.logits, load_teacher("bundled:fashion_resnet20")(x))
    assert teacher.differentiable


def test_shifted_norms_answer_as_in_training_mode_and_nothing_moves():
    teacher, plain = convolutions("norm_shift"), convolutions()
    before, x = teacher.fingerprint(), images()
    expected = initialise(vgg((4, 6), 1, 1, 4), seed=1).train()(SPEC.normalize(x))
    torch.testing.assert_close(teacher(x), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(teacher.trace(x).logits, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(teacher(x[:1]), plain(x[:1]))  # one image is no batch
    torch.testing.assert_close(teacher.network(SPEC.normalize(x)), plain(x))
    assert teacher.fingerprint() == before
    assert not teacher.remembers
    assert teacher.prior_note == "norm_shift"


def test_layer_norms_see_aligned_channels():
    plain = tokens()
    teacher = Teacher(plain.network, SPEC, prior="norm_shift")
    seen = []
    handle = plain.network.last.register_forward_hook(lambda m, inputs, out: seen.append(out))
    teacher(images())
    handle.remove()
    raw = []
    handle = plain.network.last.register_forward_pre_hook(lambda m, inputs: raw.append(inputs[0]))
    with teacher.prior.answering():
        handle.remove()
        handle = plain.network.last.register_forward_pre_hook(lambda m, i: raw.append(i[0]))
        teacher.network(SPEC.normalize(images()))
    handle.remove()
    torch.testing.assert_close(raw[-1].mean((0, 1)), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(raw[-1].var((0, 1), correction=0), torch.ones(6), rtol=0, atol=1e-2)
    z = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: aligned(z, 1), z)


def test_what_is_found_is_no_note_and_what_is_given_is():
    assert convolutions().prior_note == tokens().prior_note == ""
    assert convolutions("batch_norm").prior_note == ""
    assert convolutions("nothing").prior_note == "nothing"
    assert not fold(convolutions("nothing")).teacher.remembers
    assert isinstance(find_prior(Tokens()), NoPrior)
    assert "export-stats" in suggestion(Tokens())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pck:x", "did you mean 'pack'"),
        ("pack", "write `prior=pack:FILE`"),
        ("nothing:x", "write `prior=nothing`"),
        ("external:m", "dfkd.load_teacher"),
        ("batch_norm", "this network has none"),
        ("pack:/nowhere/x", "no pack of statistics"),
        ("", "no prior ''"),
    ],
)
def test_names_that_are_none(words, said):
    with pytest.raises(DfkdError, match=said) as caught:
        named_prior(words, nn.Sequential(nn.Linear(2, 2)), SPEC)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_every_row_says_what_it_is():
    assert all(row.line and row.takes in ("", "FILE", "MODEL") for row in PRIORS.values())


GOOD = {
    "version": 1, "teacher": "0" * 64, "samples": 3, "layers": [{"label": "norm", "axis": -1}],
    "noise": None,
}  # fmt: skip
NUMBERS = {"mean/norm": torch.zeros(6), "var/norm": torch.ones(6)}
NOISE = {"epsilon": 1.0, "delta": 1e-5, "clip": 1.0, "deviation": 0.1, "accountant": "x"}


@pytest.mark.parametrize(
    ("facts", "tensors", "said"),
    [
        (GOOD, NUMBERS, "another teacher"),
        (GOOD | {"version": 2}, NUMBERS, "version"),
        (GOOD | {"teacher": 3}, NUMBERS, "fingerprint"),
        (GOOD | {"samples": 0}, NUMBERS, "number of samples"),
        (GOOD | {"samples": True}, NUMBERS, "number of samples"),
        (GOOD | {"layers": []}, NUMBERS, "no layer"),
        (GOOD | {"layers": GOOD["layers"] * 2}, NUMBERS, "twice"),
        (GOOD | {"layers": [{"label": "norm", "axis": 5}]}, NUMBERS, "axis"),
        (GOOD | {"layers": [{"label": "gone", "axis": 1}]}, NUMBERS, "gone"),
        (GOOD | {"layers": 7}, NUMBERS, "damaged"),
        ([], NUMBERS, "damaged"),
        (GOOD, NUMBERS | {"more": torch.zeros(1)}, "numbers of no layer"),
        (GOOD, NUMBERS | {"var/norm": -torch.ones(6)}, "negative"),
        (GOOD, NUMBERS | {"var/norm": torch.ones(5)}, "one length"),
        (GOOD, NUMBERS | {"mean/norm": torch.full((6,), torch.nan)}, "finite"),
        (GOOD, NUMBERS | {"mean/norm": torch.zeros(6, dtype=torch.int64)}, "float32"),
        (GOOD | {"noise": {"epsilon": 1}}, NUMBERS, "damaged"),
        (GOOD | {"noise": NOISE | {"delta": -1}}, NUMBERS, "positive"),
    ],
)
def test_damaged_packs_are_refused_in_a_line(tmp_path, facts, tensors, said):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, metadata={ENTRY: json.dumps(facts)}))
    refused(path, said)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 9, save(NUMBERS)])
def test_files_that_are_no_packs(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    refused(path, "safetensors|no pack")


def refused(path, said):
    with pytest.raises(DfkdError, match=said) as caught:
        Teacher(initialise(Tokens(), 0), SPEC, prior=f"pack:{path}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_layers_that_the_teacher_has_not_or_calls_otherwise(tmp_path):
    teacher = tokens()
    write_pack(tmp_path / "a", packed(teacher, "norms"))
    refused(tmp_path / "a", "no such layer; did you mean 'norm'")
    write_pack(tmp_path / "b", packed(teacher, "last", channels=5))
    other = Teacher(teacher.network, SPEC, prior=f"pack:{tmp_path / 'b'}")
    with pytest.raises(DfkdError, match="6 channels"):
        other.trace(images(), statistics=True)
