"""A teacher stays as it is, whatever its own code would do, or is refused by the tensor's name."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dfkd
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.cost import latency
from dfkd.networks import vgg
from dfkd.networks.fingerprint import fingerprint
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload, compile_teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.holding import hold, is_held, let_go
from dfkd.teacher.recompute import recomputing
from support.methods import small
from support.networks import HELD, SPEC, Net, seasoned

LATE = torch.rand(8, 1, 8, 8) * 5


class Functional(Net):
    """Hands its own statistics to a norm that is told to move them."""

    def forward(self, x):
        norm = self.norm
        x = F.batch_norm(self.conv(x), norm.running_mean, norm.running_var, training=True)
        return self.head(x.mean((2, 3)))


class Counts(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


class Replaces(Net):
    """Not in place: another tensor takes the buffer's name."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x.mean()
        return super().forward(x)


class Renormed(Net):
    """What networks for EEG do to their weights."""

    def forward(self, x):
        self.conv.weight.data = torch.renorm(self.conv.weight.data, p=2, dim=0, maxnorm=0.1)
        return super().forward(x)


class Remembers(Net):
    """A cache is no part of the state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.last = x.mean().detach().reshape(1)
        return super().forward(x)


@pytest.mark.parametrize(
    ("build", "named"),
    [(Functional, "norm.running_mean"), (Counts, "seen"), (Replaces, "mean"),
     (Renormed, "conv.weight")],
)  # fmt: skip
def test_who_changes_itself_even_when_held_is_refused_and_comes_back(build, named):
    torch.manual_seed(0)
    network = build().train()
    network.norm.eval()
    before, kinds = fingerprint(network), list(map(type, network.modules()))
    with pytest.raises(DfkdError, match=f"changes its own '{named}' whenever it is asked") as no:
        Teacher(network, SPEC)
    assert len(str(no.value)) <= 300
    assert fingerprint(network) == before
    assert list(map(type, network.modules())) == kinds
    assert network.training
    assert not network.norm.training
    assert all(p.requires_grad for p in network.parameters())


def test_a_cache_is_nobodys_business():
    teacher = Teacher(Remembers(), SPEC)
    before = teacher.digests()
    teacher(LATE)
    teacher.check_untouched(before)
    assert not teacher.held


@pytest.mark.parametrize("name", HELD)
def test_whoever_asks_a_held_teacher_moves_nothing(name):
    network = seasoned(name)
    plain = Net()
    plain.load_state_dict(network.state_dict())
    expected = Teacher(plain, SPEC)(LATE)
    teacher = Teacher(network, SPEC)
    before = teacher.digests()
    network.train()
    torch.testing.assert_close(teacher(LATE), expected)
    pixels = LATE.clone().requires_grad_()
    trace = teacher.trace(pixels, statistics=True)
    (trace.logits.sum() + trace.statistics[0].mean.sum()).backward()
    torch.testing.assert_close(trace.logits, expected)
    torch.testing.assert_close(
        predictions(network, SPEC, LATE.clamp(0, 1).mul(255).byte()),
        predictions(plain, SPEC, LATE.clamp(0, 1).mul(255).byte()),
    )
    latency(network, SPEC, 2, rounds=3)
    both = dfkd.ensemble([teacher, Teacher(vgg((4,), 1, 1, 4), SPEC)])
    assert both.held
    both.restore()
    both(LATE)
    network(SPEC.normalize(LATE))
    teacher.check_untouched(before)
    teacher.restore()
    network(SPEC.normalize(LATE))  # its own again, with its own ways
    with pytest.raises(DfkdError, match=r"the teacher's 'norm.num_batches_tracked' changed"):
        teacher.check_untouched(before)


@pytest.mark.parametrize("name", HELD)
def test_a_held_teacher_is_neither_folded_nor_compiled_nor_recomputed(name):
    teacher = Teacher(seasoned(name), SPEC)
    folding = fold(teacher)
    assert folding.teacher is teacher
    assert folding.reasons == {"norm": teacher.held}
    compiled = compile_teacher(teacher, "on", Workload(((2, 1, 8, 8),), seconds=1e6))
    assert compiled == (teacher, False, teacher.held, compiled.seconds)
    with pytest.raises(DfkdError, match="held in eval mode; leave `recompute` off"):
        recomputing(teacher)
    again = Teacher(teacher.network, SPEC)
    assert again.held
    again.restore()
    assert all(map(is_held, teacher.network.modules()))


def test_held_modules_have_one_mode_and_their_own_names():
    network = nn.Sequential(Net(), nn.Dropout())
    text, kinds = repr(network), list(map(type, network.modules()))
    hold(network.eval().modules())
    hold(network.modules())
    network.train()
    network[1].training = True
    assert not any(module.training for module in network.modules())
    assert repr(network) == text
    assert isinstance(network[0], Net)
    let_go(network.modules())
    let_go(network.modules())
    assert list(map(type, network.modules())) == kinds
    assert network.train()[1].training


def test_ordinary_teachers_keep_their_classes():
    network = vgg((4,), 1, 1, 4)
    teacher = Teacher(network, SPEC)
    assert not teacher.held
    assert not any(map(is_held, network.modules()))


@pytest.mark.parametrize("change", ["value", "gone", "shape"])
def test_the_tensor_that_changed_is_named(change):
    network = Net()
    teacher = Teacher(network, SPEC)
    before = teacher.digests()
    teacher.check_untouched(before)
    if change == "value":
        network.norm.running_var[3] += 1e-6
    elif change == "gone":
        del network.norm.running_var
    else:
        network.norm.running_var = torch.ones(2, 4)
    with pytest.raises(DfkdError, match=r"the teacher's 'norm.running_var' changed") as told:
        teacher.check_untouched(before)
    assert len(str(told.value)) <= 300


def test_a_student_of_the_teachers_layers_is_refused_before_anything_happens(tmp_path):
    network = Net()
    teacher = Teacher(network, SPEC)
    student = nn.Sequential(network.conv, network.norm, nn.Flatten(), nn.Linear(8 * 64, 4))
    student.requires_grad_(True)
    with pytest.raises(DfkdError, match=r"'0.weight' is the teacher's own 'conv.weight'"):
        dfkd.distill(teacher, student, recipe=small("drawings"), steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
