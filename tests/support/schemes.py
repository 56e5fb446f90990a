"""Every scheme in small, one row a form, and the networks and runs that its tests share."""

import dataclasses
import os
import signal

import torch

import dfkd
from dfkd import recipes
from dfkd.datasets import GivenImages
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.cross_modal import CrossModalConfig, put_behind_front_end
from dfkd.distillation.schemes.ensemble import ensemble
from dfkd.networks import bilstm, initialise, vgg
from dfkd.protocols import Batch
from dfkd.recipes.schemes import SCHEMES, build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training import engine
from dfkd.training.budget import Alternation

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.5)
QUICK_ATTACK = {"epsilon": 0.1, "step_size": 0.05, "steps": 2}
ROWS = {
    "offline": {},
    "online": {"students": 3},
    "self": {},
    "self:keep": {"exits": "keep"},
    "self:generations": {"form": "generations", "generations": 2},
    "adversarial": {},
    "adversarial:features": {"form": "features"},
    "robust": QUICK_ATTACK,
    "robust:ard": {"form": "ard", **QUICK_ATTACK},
}
"""Settings by SCHEME[:what is special]. What only composes teachers is tested on its own."""
SIGNALS = {"channels": 3, "frames": 6, "height": 8, "width": 8, "darkest": -9.0, "brightest": 9.0}
TOGETHER = {
    **ROWS,
    "adversarial:images": {"form": "images", "ngf": 4, "latent_dim": 8},
    "ensemble": {},
    "cross_modal": SIGNALS,
}
"""What several processes share: what composes teachers or is given images as well."""


def build(row, teacher, student, config=CONFIG, seed=0, **options):
    name = row.partition(":")[0]
    settings = dataclasses.replace(SCHEMES[name].config(), **ROWS[row])
    return build_distiller(teacher, student, config, seed, name, settings, **options)


def make_teacher(seed=0):
    torch.manual_seed(seed)
    network = vgg((8, 16), 1, 1, 4)
    for _ in range(20):
        network(torch.rand(32, 1, 8, 8))
    network.head.weight.data *= 5
    return Teacher(network, ImageSpec(1, 8, 8, (0.4,), (0.3,)))


def make_student(seed=1):
    return initialise(vgg((6, 10), 1, 1, 4), seed)


def some_batch(teacher, count=32, seed=0):
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        prediction = teacher.predict(images)
    return Batch(images, prediction, prediction.logits.argmax(1))


def run(distiller, teacher, steps, start=0, total=8):
    found = []
    for step in range(start, start + steps):
        distiller.set_progress(step / total)
        found.append(distiller.update(some_batch(teacher, seed=step)))
    return found


def check_resume(run, out, monkeypatch):
    """Raise unless ``run``, interrupted at its fifth step of eight and resumed, ends as whole."""
    whole, step = run(), engine.Engine._distill

    def stop(self, progress):
        step(self, progress)
        if self.account.steps == 5:  # of generations in the second
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(engine.Engine, "_distill", stop)
    assert run(out=out).interrupted
    monkeypatch.undo()
    again = run(out=out, resume=True)
    assert again.figures["student_steps"] == 8
    state = again.student.state_dict()
    assert all(torch.equal(state[k], v) for k, v in whole.student.state_dict().items())


def cast(row):
    """A row's teacher, its student, and the images that are given."""
    if row == "ensemble":
        return ensemble([make_teacher(), make_teacher(1)]), make_student(), None
    if row == "cross_modal":
        behind = put_behind_front_end([make_teacher()], CrossModalConfig(**SIGNALS))
        return behind, initialise(bilstm(8, 1, 3, 1, 4), 1), None
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 8, 8), generator=draws, dtype=torch.uint8)
    given = GivenImages(images, None, "npz:own") if row == "adversarial:images" else None
    return make_teacher(), make_student(), given


def trained(row, devices=1):
    """The sizes of a student's tensors after a few steps, by an optimiser that shows any gradient:
    Muon and AdamW take a step of one size whatever it is."""
    settings = [f"scheme_config.{key}={value}" for key, value in TOGETHER[row].items()]
    plan = recipes.with_scheme(recipes.recipe("drawings"), row.partition(":")[0])
    learner = [f"distiller.{words}" for words in ("optimizer=sgd", "ema=0", "warmup=0")]
    plan = recipes.override(plan, [*settings, *learner, "init=random"])
    plan = dataclasses.replace(plan, alternation=Alternation(batch_size=32))
    teacher, student, images = cast(row)
    result = dfkd.distill(
        teacher, student, recipe=plan, images=images, steps=6, precision="fp32", device="cpu",
        devices=devices,
    )  # fmt: skip
    return [float(value.double().abs().sum()) for value in result.student.state_dict().values()]
