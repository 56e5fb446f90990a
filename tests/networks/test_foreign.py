"""What a network raises is one line: whose it is, its own words, and what to do."""

import pytest
import torch
from torch import nn

import dfkd
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import predictions
from dfkd.evaluation.cost import latencies
from dfkd.loading import check_student
from dfkd.networks import resnet, vgg
from dfkd.networks.foreign import calling, within_memory
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.synthesis.methods.deep_inversion_config import accepts_half
from dfkd.teacher import Teacher
from dfkd.teacher.compilation import Workload, compile_teacher
from dfkd.teacher.spec import ImageSpec
from support.methods import small
from support.networks import SPEC, AtMost64, Net

LIMIT = "CPUAllocator: can't allocate memory: you tried to allocate 999 bytes. Error code 12"


class Raises(Net):
    """Fails as ``error`` says, on all batches or on those of another size than ``count``."""

    def __init__(self, error, count=None):
        super().__init__()
        self.error, self.count = error, count

    def forward(self, x):
        if len(x) != self.count:
            raise self.error
        return super().forward(x)


SHAPED, OWN = "does not accept 1x8x8 images", "fails on 2 1x8x8 images"
ERRORS = {
    "assert": (AssertionError("Input height (8) doesn't match model (224)."), SHAPED),
    "bare assert": (AssertionError(), SHAPED),
    "value": (ValueError("expected 3 channels"), SHAPED),
    "shape": (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), SHAPED),
    "dtype": (RuntimeError("expected scalar type Double but found Float"), OWN),
    "key": (KeyError("scale"), OWN),
    "index": (IndexError("list index out of range"), OWN),
    "attribute": (AttributeError("'Net' object has no attribute 'nothing'"), OWN),
    "zero": (ZeroDivisionError("division by zero"), OWN),
    "import": (ImportError("no module named 'flash_attn'"), OWN),
    "exit": (SystemExit(3), OWN),
    "long": (KeyError("word " * 200), OWN),
    "lines": (RuntimeError("first line\nsecond line"), SHAPED),
}


def line(refusal):
    text = str(refusal.value)
    assert "\n" not in text
    assert len(text) <= 300
    return text


@pytest.mark.parametrize("case", ERRORS)
def test_a_teachers_error_is_quoted_and_it_comes_back(case):
    error, told = ERRORS[case]
    network = Raises(error).train()
    with pytest.raises(DfkdError, match=f"the teacher {told}") as refusal:
        Teacher(network, SPEC)
    text = line(refusal)
    assert type(error).__name__ in text
    assert str(error).partition("\n")[0][:100] in text
    assert ("set `image`" in text) == (told == SHAPED)
    assert network.training
    assert network.conv.training
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("case", ERRORS)
def test_a_students_error_is_quoted(case, tiny_teacher):
    error, told = ERRORS[case]
    with pytest.raises(DfkdError, match=f"the student {told}") as refusal:
        check_student(Raises(error), tiny_teacher)
    assert ("set its keywords" in line(refusal)) == (told == SHAPED)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_an_interruption_is_no_error_of_the_network(error):
    network = Raises(error()).train()
    with pytest.raises(error):
        Teacher(network, SPEC)
    assert network.training
    assert network.head.weight.requires_grad


def test_a_refusal_of_ours_passes():
    with pytest.raises(DfkdError, match=r"^ours$"), calling("the teacher", (2, 1, 8, 8)):
        raise DfkdError("ours")


def test_a_batch_that_is_too_large_names_its_size(tiny_teacher):
    teacher = Teacher(AtMost64(), SPEC)
    for ask in (teacher, lambda x: teacher.trace(x, statistics=True)):
        with pytest.raises(DfkdError, match=r"the teacher fails on 65 1x8x8 .*at most 64") as no:
            ask(torch.rand(65, 1, 8, 8))
        assert "set `batch_size`" in line(no)
        assert "`image`" not in str(no.value)
    distiller = build_distiller(tiny_teacher, AtMost64(), LearnerConfig(), 0)
    with pytest.raises(DfkdError, match=r"the student fails on 65 1x8x8 .*set `batch_size`") as no:
        distiller.update(Batch(torch.rand(65, 1, 8, 8)))
    line(no)
    with pytest.raises(DfkdError, match="set `batch_size`"):
        dfkd.distill(tiny_teacher, AtMost64(), recipe=small("drawings"), steps=1, batch_size="65")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError(LIMIT)]
)
def test_spent_memory_names_what_takes_less(error, tiny_teacher):
    teacher = Teacher(Raises(error, 2), SPEC)
    with pytest.raises(DfkdError, match="the teacher fails on 3 1x8x8") as refusal:
        teacher(torch.rand(3, 1, 8, 8))
    assert "`batch_size=auto`" in line(refusal)
    assert "`recompute`" in str(refusal.value)


def test_work_of_ours_that_spends_memory_is_told_alike():
    told = r"^synthesis fails .*`batch_size=auto`.*`recompute`"
    with pytest.raises(DfkdError, match=told) as no, within_memory("synthesis"):
        raise torch.OutOfMemoryError("CUDA out of memory. " + "word " * 100)
    line(no)
    for error in (DfkdError("out of memory, says a line of ours"), ValueError("x")):
        with pytest.raises(type(error)) as no, within_memory("synthesis"):
            raise error
        assert no.value is error


class FailsBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError(LIMIT)


def test_memory_that_is_spent_on_the_way_back_is_told_alike(tiny_teacher):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = vgg((4,), 1, 1, 4)

        def forward(self, x):
            return FailsBackwards.apply(self.inner(x))

    distiller = build_distiller(tiny_teacher, Net(), LearnerConfig(), 0)
    with pytest.raises(DfkdError, match=r"the student fails on 3 1x8x8 .*`batch_size=auto`"):
        distiller.update(Batch(torch.rand(3, 1, 8, 8)))


def test_measuring_takes_as_many_images_as_a_network_does():
    torch.manual_seed(0)
    network, images = AtMost64(), torch.randint(0, 255, (100, 1, 8, 8), dtype=torch.uint8)
    expected = predictions(network, SPEC, images, batch_size=50)
    torch.testing.assert_close(predictions(network, SPEC, images), expected)
    assert len(latencies([(network, SPEC)], 100, rounds=3)) == 1
    with pytest.raises(DfkdError, match=r"the network fails on 1 1x8x8 .*KeyError: 'x'") as refusal:
        predictions(Raises(KeyError("x")), SPEC, images)
    line(refusal)


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), SystemExit(2)])
def test_half_the_size_may_fail_in_any_way(error):
    class OneSize(Net):
        def forward(self, x):
            if x.shape[-1] != 8:
                raise error
            return super().forward(x)

    assert not accepts_half(Teacher(OneSize(), SPEC))
    assert accepts_half(Teacher(Net(), SPEC))


@pytest.mark.parametrize(
    "error", [FileNotFoundError("/proc/nope"), RuntimeError(), ValueError("x")]
)
def test_a_compiler_may_fail_in_any_way(error, monkeypatch):
    def compiler(*_, **__):
        raise error

    monkeypatch.setattr(torch, "compile", compiler)
    teacher = Teacher(resnet(8, 1, 4), ImageSpec(1, 8, 8))
    with pytest.warns(UserWarning, match=f"nothing is compiled.*{type(error).__name__}"):
        found = compile_teacher(teacher, "on", Workload(((2, 1, 8, 8),)))
    assert (found.teacher, found.used, found.reason) == (teacher, False, "it failed here")
