"""A second task, space and prior, brought from here: the package is not touched for them.

A two-box detector of images, sequences over an alphabet of five, and a prior of mean activations go
through a bank, through pixel methods and drawings, and through ``offline``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dfkd import recipes
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.losses.objective import Objective
from dfkd.networks import initialise, vgg
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.synthesis.bank import ImageBank
from dfkd.synthesis.method import Method, descend
from dfkd.synthesis.methods.adi import Adi, AdiConfig
from dfkd.synthesis.methods.drawings import Drawings, DrawingsConfig
from dfkd.tasks import Prediction, Task
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.spec import ImageSpec

BOXES, CLASSES = 2, 3


class TwoBoxes(Task):
    """Each image has two rows: logits of a box's class, how much it counts, and its corners."""

    num_classes = CLASSES
    names = ("cat", "dog", "nothing")

    def read(self, raw):
        scores, boxes = raw["scores"].flatten(0, 1), raw["boxes"].flatten(0, 1)
        weight = 1 - scores.softmax(1)[:, -1].detach()
        return Prediction(scores, weight, boxes)

    def check_student(self, raw, count, mode):
        assert len(self.read(raw).logits) == BOXES * count

    def sample_targets(self, count, rng, device, *, balanced=False):
        return torch.randint(CLASSES, (BOXES * count,), generator=rng).to(device)

    def decide(self, prediction):
        return prediction.logits.argmax(1)

    def supervised(self, prediction, target):
        return F.cross_entropy(prediction.logits, target) + prediction.values.square().mean()

    def counts(self, prediction):
        return self.decide(prediction).bincount(minlength=CLASSES)

    def agreement(self, one, other):
        return (self.decide(one) == self.decide(other)).float().mean()

    def metric(self):
        raise NotImplementedError


class Detector(nn.Module):
    """A VGG's body with a head that answers with a dictionary."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = vgg((width, 2 * width), 1, 1, BOXES * (CLASSES + 4))

    def forward(self, images):
        rows = self.body(images).unflatten(1, (BOXES, CLASSES + 4))
        return {"scores": rows[..., :CLASSES], "boxes": rows[..., CLASSES:].sigmoid()}


def detector(seed: int = 0) -> Teacher:
    network = initialise(Detector(), seed)
    for _ in range(8):
        network(torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    return Teacher(network, ImageSpec(1, 8, 8, (0.4,), (0.3,)), task=TwoBoxes())


class Alphabet:
    """Sequences of six soft tokens over five symbols: each a point of the simplex."""

    shape = (6, 5)

    def normalize(self, samples):
        return samples

    denormalize = normalize

    def project_(self, samples):
        samples.clamp_(min=1e-6)
        return samples.div_(samples.sum(-1, keepdim=True))

    def encode(self, samples):
        return samples if samples.dtype == torch.int32 else samples.argmax(-1).int()

    def decode(self, stored):
        return F.one_hot(stored.long(), 5).float()

    def example(self, count, device):
        return torch.full((count, *self.shape), 0.2, device=device)


class Reader(nn.Module):
    """Classifies a sequence by its mean embedding."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Linear(5, width)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).relu().mean(1))


class MeanActivations:
    """Remembers the mean of one layer's output over the training data."""

    def __init__(self, layer: nn.Module, mean: torch.Tensor) -> None:
        self.layers: Mapping[str, nn.Module] = {"embedding": layer}
        self.mean = mean

    @contextmanager
    def open(self) -> Iterator["MeanActivations"]:
        self._seen: list[torch.Tensor] = []
        hook = self.layers["embedding"].register_forward_hook(
            lambda module, inputs, output: self._seen.append(output.flatten(0, -2).mean(0))
        )
        try:
            yield self
        finally:
            hook.remove()

    def finished(self):
        return tuple(self._seen)

    def distance(self, record):
        return sum((mean - self.mean).square().sum() for mean in record)

    relative_distance = distance


def reader() -> Teacher:
    network = initialise(Reader(), 0)
    data = F.one_hot(torch.randint(2, (64, 6), generator=torch.Generator().manual_seed(0)), 5)
    with torch.no_grad():
        mean = network.embedding(data.float()).flatten(0, -2).mean(0)
    return Teacher(network, Alphabet(), prior=MeanActivations(network.embedding, mean))


class RandomSequences(Method):
    """Drawings of another kind: symbols at random."""

    def update(self, student):
        return {}

    def sample(self, count):
        self.images_made += count
        symbols = torch.randint(5, (count, 6), generator=self._rng).to(self.device)
        return Batch(self.teacher.spec.decode(symbols))


class SoftTokens(Method):
    """A pixel method for tokens: gradient descent on the simplex, then a bank of symbols."""

    def __init__(self, teacher, config, seed):
        super().__init__(teacher, config, seed)
        self.objective = Objective.parse("bn + 0.1*onehot")
        self.forward = PairedForward(teacher, self.objective.needs)
        self.bank = self.new_bank(64, seed)

    def update(self, student):
        targets = self.teacher.task.sample_targets(16, self._rng, self.device)
        tokens = torch.rand(16, 6, 5, generator=self._rng).to(self.device)
        tokens = self.teacher.spec.project_(tokens).requires_grad_()
        optimizer = torch.optim.Adam([tokens], 0.05)
        for _ in range(self.config):
            loss, components = self.objective(self.ask(self.forward, tokens, targets=targets))
            descend(optimizer, loss)
            with torch.no_grad():
                self.teacher.spec.project_(tokens)
        self.keep(tokens.detach(), targets)
        return {"loss": loss.detach(), **components}

    def sample(self, count):
        return self.bank.sample(count)


def learn(teacher: Teacher, student: nn.Module, synthesizer, updates: int = 30):
    """Losses of a few steps of ``offline`` on what a synthesizer makes."""
    config = LearnerConfig(flip=0.0, lr=0.01, optimizer="adamw", ema=0.0)
    distiller = build_distiller(teacher, student, config, 0)
    found = []
    for step in range(updates):
        distiller.set_progress(step / updates / 2)
        found.append(distiller.update(synthesizer.sample(16)))
    return distiller, found


def test_a_detector_answers_with_rows_weights_and_values():
    teacher, images = detector(), torch.rand(5, 1, 8, 8)
    prediction = teacher.predict(images)
    assert [*prediction.logits.shape] == [10, 3]
    assert [*prediction.weight.shape] == [10]
    assert [*prediction.values.shape] == [10, 4]
    assert torch.equal(teacher(images), prediction.logits)
    some = prediction.of_samples(torch.tensor([3, 0]), 5)
    assert torch.equal(some.values, prediction.values[[6, 7, 0, 1]])


def test_a_bank_gives_back_the_rows_of_the_samples_it_draws():
    teacher = detector()
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    images = teacher.spec.decode(teacher.spec.encode(images))
    bank = ImageBank(6, teacher.spec, CLASSES, seed=0)
    prediction = teacher.predict(images)
    bank.add(images, prediction, teacher.task.decide(prediction))
    batch = bank.sample(4)
    again = teacher.predict(batch.inputs)
    torch.testing.assert_close(batch.prediction.logits, again.logits, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(batch.prediction.values, again.values)
    assert torch.equal(batch.target, teacher.task.decide(again))
    resumed = ImageBank(6, teacher.spec, CLASSES, seed=9)
    resumed.load_state_dict(bank.state_dict())
    for one, other in zip(bank.sample(3).prediction, resumed.sample(3).prediction, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", ["drawings", "adi"])
def test_a_detector_is_distilled_by_methods_of_the_package(method):
    teacher = detector()
    before = teacher.fingerprint()
    student = initialise(Detector(6), 3)
    if method == "drawings":
        synthesizer = Drawings(teacher, DrawingsConfig(), 0)
    else:
        synthesizer = Adi(teacher, AdiConfig(batch_size=16, iterations=3), 0)
        metrics = synthesizer.update(student)
        assert metrics["onehot"] > 0
        assert metrics["bn"] > 0
        assert synthesizer.sample(3).prediction.values.shape == (6, 4)
    distiller, found = learn(teacher, student, synthesizer)
    assert found[-1]["kd"] < found[0]["kd"]
    assert sum(distiller.class_counts()) == 30 * 16 * BOXES
    assert teacher.fingerprint() == before


def test_tokens_are_drawn_optimised_and_learnt():
    teacher = reader()
    assert teacher.held  # its prior knows this network, and no copy of it
    made = SoftTokens(teacher, 25, 0)
    short = float(SoftTokens(teacher, 1, 0).update(nn.Identity())["bn"])
    assert float(made.update(nn.Identity())["bn"]) < 0.5 * short
    stored = made.bank.state_dict()["columns"]["inputs"]
    assert stored.dtype == torch.int32
    assert [*stored.shape] == [16, 6]
    for synthesizer in (RandomSequences(teacher, None, 0), made):
        _, found = learn(teacher, initialise(Reader(8), 1), synthesizer, 60)
        assert found[-1]["kd"] < 0.7 * found[0]["kd"]


def test_a_prior_of_ones_own_measures_what_it_remembers():
    teacher = reader()
    symbols = torch.randint(2, (64, 6), generator=torch.Generator().manual_seed(0))
    like_data, other = (teacher.spec.decode(s) for s in (symbols, symbols + 3))
    distances = [
        teacher.prior.distance(teacher.trace(samples, statistics=True).statistics)
        for samples in (like_data, other)
    ]
    assert distances[0] < 1e-6 < distances[1]


def test_the_settings_of_a_recipe_serve_other_tasks_as_well():
    teacher, student = detector(), initialise(Detector(6), 3)
    recipe = recipes.recipe("drawings")
    synthesizer = recipes.build_synthesizer(recipe, teacher)
    distiller = build_distiller(teacher, student, recipe.learner, recipe.seed, recipe.scheme)
    distiller.update(synthesizer.sample(8))
