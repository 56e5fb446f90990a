"""A critic beside the student: who moves whom, who stays in the game, what is left of it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dfkd
from dfkd import cli, recipes
from dfkd.cli.distill import FAILED
from dfkd.datasets import GivenImages
from dfkd.distillation.critic import CriticTrainer
from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.adversarial_config import AdversarialConfig
from dfkd.errors import DfkdError
from dfkd.losses.critic import critic_loss
from dfkd.networks import resnet, vgg
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.distributed import SINGLE_PROCESS, Runtime
from support.schemes import check_resume

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0)
SMALL = {"width": 16, "latent_dim": 8, "ngf": 4}
FORMS = ("logits", "features", "images")


@pytest.fixture
def teacher():
    """One that tells its classes apart on noise: pixels of one corner each decide."""
    torch.manual_seed(0)
    network = vgg((8, 16), 1, 1, 4)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        images = some_images(64)
        loss = F.cross_entropy(network((images - 0.4) / 0.3), corner(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Teacher(network, ImageSpec(1, 8, 8, (0.4,), (0.3,)))


@pytest.fixture
def student():
    torch.manual_seed(1)
    return vgg((6, 10), 1, 1, 4)


def some_images(count: int = 32, seed: int | None = None) -> Tensor:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 2, 2, generator=generator)
    fine = torch.rand(count, 1, 8, 8, generator=generator)
    return 0.7 * coarse.repeat_interleave(4, 2).repeat_interleave(4, 3) + 0.3 * fine


def corner(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 4).flatten(1).argmax(1)


def build(teacher, student, config=CONFIG, seed=0, runtime=None, **settings):
    places = {} if runtime is None else {"runtime": runtime}
    chosen = AdversarialConfig(**{**SMALL, **settings})
    return build_distiller(teacher, student, config, seed, "adversarial", chosen, **places)


def run(distiller, steps, start=0, total=100):
    found = []
    for step in range(start, start + steps):
        distiller.set_progress(step / total)
        found.append(distiller.update(Batch(some_images(32, step))))
    return found


def alike(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("form", FORMS)
def test_without_weight_it_is_offline_bit_for_bit(form, teacher, student):
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9, knowledge="kd + hint")
    twin = copy.deepcopy(student)
    offline = build_distiller(teacher, student, config, 3)
    without = build(teacher, twin, config, 3, form=form, weight=0)
    for one, other in zip(run(offline, 4), run(without, 4), strict=True):
        assert alike(one, other)
    assert alike(offline.finished().state_dict(), without.finished().state_dict())
    assert not without.extras()


def watch(monkeypatch, kind, look) -> list[bool]:
    """At every ``kind.learn``: whether what ``look`` returns was the same before and after."""
    name = "learn" if kind is Learner else "step"
    found, step = [], getattr(kind, name)

    def spy(self, loss):
        before = copy.deepcopy(look())
        step(self, loss)
        found.append(alike(before, look()))

    monkeypatch.setattr(kind, name, spy)
    return found


@pytest.mark.parametrize("loss", ["hinge", "bce", "lsgan"])
@pytest.mark.parametrize("form", FORMS)
def test_neither_step_moves_the_other_side(form, loss, teacher, student, monkeypatch):
    distiller = build(teacher, student, form=form, loss=loss)
    critics, (learner,) = distiller._critic.critics, distiller.learners
    before = copy.deepcopy(critics.state_dict())

    def student_side():
        return {**student.state_dict(), **learner.adapters.state_dict()}

    critic_moved_student = watch(monkeypatch, CriticTrainer, student_side)
    student_moved_critic = watch(monkeypatch, Learner, critics.state_dict)
    weights = copy.deepcopy(student_side())
    run(distiller, 3)
    assert critic_moved_student == student_moved_critic == [True] * 3
    assert all(parameter.requires_grad for parameter in critics.parameters())
    assert not alike(weights, student_side())
    moved = [k for k, v in critics.named_parameters() if not torch.equal(v, before[k])]
    assert any("weight" in name for name in moved)


@pytest.mark.parametrize("loss", ["hinge", "bce"])
@pytest.mark.parametrize("form", ["logits", "features"])
def test_critic_and_student_pull_the_students_answers_apart(form, loss, teacher, student):
    """Not ``lsgan``: a score below both of its targets is pulled up by both."""
    distiller = build(teacher, student, form=form, loss=loss, noise=0.0, weight=0.5)
    run(distiller, 3)
    scheme = distiller
    (learner,), judge = scheme.learners, scheme._critic
    answers = learner.forward(learner.prepare(Batch(some_images(32, 9))))
    real, fake = scheme._judged(answers)
    mine = answers.student.logits if form == "logits" else answers.student.features
    pieces = list(mine) if isinstance(mine, tuple) else [mine]
    scores = [
        (critic(r), critic(f)) for critic, r, f in zip(judge.critics, real, fake, strict=True)
    ]
    against = sum(critic_loss(*pair, kind=loss) for pair in scores)
    pulls = torch.autograd.grad(against, pieces, retain_graph=True)
    with judge.frozen():
        fooling = judge.generator_loss(real, fake)
    pushes = torch.autograd.grad(fooling, pieces, retain_graph=True)
    for pull, push in zip(pulls, pushes, strict=True):
        assert F.cosine_similarity(pull.flatten(), push.flatten(), 0) < -0.5


@pytest.mark.parametrize("loss", ["hinge", "bce"])
def test_critic_and_generator_pull_its_images_apart(loss, teacher, student, monkeypatch):
    distiller = build(teacher, student, form="images", loss=loss, noise=0.0)
    run(distiller, 3)
    judge, maker = distiller._critic, distiller._trainer
    (critic,), real, fake = judge.critics, some_images(32, 9), maker.images(32)
    against = critic_loss(critic(real), critic(fake), kind=loss)
    (pull,) = torch.autograd.grad(against, fake, retain_graph=True)
    with judge.frozen():
        (push,) = torch.autograd.grad(judge.generator_loss((real,), (fake,)), fake)
    assert F.cosine_similarity(pull.flatten(), push.flatten(), 0) < -0.5
    # The step itself: what the generator learns makes the critic take its images for given ones.
    critic.eval()
    latents = torch.randn(64, SMALL["latent_dim"], generator=torch.Generator().manual_seed(0))
    scores = []
    with torch.no_grad():
        scores.append(critic(maker.network(latents)).mean())
    monkeypatch.setattr(judge, "step", lambda loss: None)
    for _ in range(20):
        distiller._contest(judge, real)
    critic.eval()
    with torch.no_grad():
        scores.append(critic(maker.network(latents)).mean())
    assert scores[1] > scores[0]


def test_the_students_loss_holds_the_fooling_term_with_its_sign(teacher, student, monkeypatch):
    losses, learn = [], Learner.learn
    monkeypatch.setattr(
        Learner, "learn", lambda self, loss: (losses.append(loss.detach()), learn(self, loss))
    )
    for form, beside, times in (("logits", "classes", 3.0), ("features", "similarity", 2.0)):
        distiller = build(
            teacher, copy.deepcopy(student), form=form, weight=0.2, classes=3.0, similarity=2.0
        )
        parts = run(distiller, 1)[0]
        assert {"kd", "agreement", "critic", "critic_accuracy", "fooling", beside} == set(parts)
        wanted = parts["kd"] + 0.2 * (parts["fooling"] + times * parts[beside])
        torch.testing.assert_close(losses[-1], wanted)


@pytest.mark.parametrize("form", FORMS)
def test_the_critic_stays_in_the_game(form, teacher, student):
    """It learns to tell, and is not always right: a critic at 50 % or 100 % teaches nothing."""
    distiller = build(teacher, student, form=form, width=64, ngf=16)
    shares = torch.stack([m["critic_accuracy"] for m in run(distiller, 120, 0, 120)])
    tenths = shares.view(12, 10).mean(1)
    assert tenths[:4].max() > 0.6, tenths
    assert 0.35 < tenths[6:].mean() < 0.95, tenths
    assert shares[60:].unique().numel() > 3, shares


@pytest.mark.parametrize("form", FORMS)
def test_a_student_learns_beside_a_critic(form, teacher, student):
    before = teacher.fingerprint()
    distiller = build(teacher, student, form=form)
    found = [distiller.update(Batch(some_images(64, 0))) for _ in range(60)]
    assert found[-1]["kd"] < 0.5 * found[0]["kd"]
    assert teacher.fingerprint() == before
    kept = distiller.finished()
    assert kept.state_dict().keys() == vgg((6, 10), 1, 1, 4).state_dict().keys()
    assert not distiller.networks()


@pytest.mark.parametrize("knowledge", ["kd", "kd + hint", "kd + at"])
def test_features_are_paired_whatever_the_knowledge_looks_at(knowledge, teacher, student):
    config = dataclasses.replace(CONFIG, knowledge=knowledge)
    distiller = build(teacher, student, config, form="features")
    (learner,) = distiller.learners
    assert len(learner.pairs) == len(learner.adapters["hint"].adapters) == 2
    assert [c.project[0].weight.shape[1] for c in distiller._critic.critics] == [8, 16]
    adapters = copy.deepcopy(learner.adapters.state_dict())
    parts = run(distiller, 2)[-1]
    assert ("hint" in parts) == ("hint" in knowledge)
    assert parts["similarity"] > 0
    assert not any(torch.equal(v, adapters[k]) for k, v in learner.adapters.state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_resumed_is_uninterrupted(form, teacher, student):
    start = copy.deepcopy(student)
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9)
    whole = build(teacher, student, config, form=form)
    run(whole, 5)
    saved = copy.deepcopy(whole.state_dict())
    wanted = run(whole, 3, start=5)
    again = build(teacher, start, config, seed=8, form=form)
    again.load_state_dict(saved)
    for one, other in zip(wanted, run(again, 3, start=5), strict=True):
        assert alike(one, other)
    assert alike(whole.finished().state_dict(), again.finished().state_dict())


@pytest.mark.parametrize("form", FORMS)
def test_the_global_random_state_is_left_alone(form, teacher, student):
    state = torch.get_rng_state()
    run(build(teacher, student, form=form), 2)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("form", FORMS)
def test_steps_read_nothing_back_and_narrow_floats_do(form, teacher, student):
    away = Teacher(resnet(8, 1, 4).to("meta"), ImageSpec(1, 16, 16))
    distiller = build(away, resnet(8, 1, 4).to("meta"), form=form)
    for step in range(2):
        distiller.set_progress(step / 2)
        metrics = distiller.update(Batch(torch.empty(4, 1, 16, 16, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())
    runtime = Runtime(torch.device("cpu"), "bf16", 0, 1)
    narrow = run(build(teacher, student, runtime=runtime, form=form), 3)[-1]
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in narrow.values())


# Images of a generator beside given ones


def test_made_images_are_images_that_the_teacher_labels(teacher, student):
    distiller = build(teacher, student, form="images", weight=0.5)
    found = run(distiller, 3)[-1]
    assert distiller.teacher_images == 3 * 64
    assert sum(distiller.class_counts()) == 3 * 64
    assert set(found) == {
        f"{name}" for name in ("kd", "agreement", "made_kd", "critic", "critic_accuracy", "fooling")
    }
    made = distiller._trainer.images(16)
    assert made.shape == (16, 1, 8, 8)
    assert 0 <= made.min() < made.max() <= 1
    assert set(distiller.extras()) == {"critic", "generator"}


def plan_of(form):
    plan = recipes.with_scheme(recipes.recipe("default"), "adversarial")
    settings = {"scheme_config.form": form, **{f"scheme_config.{k}": v for k, v in SMALL.items()}}
    return recipes.override(plan, [f"{key}={value}" for key, value in settings.items()])


def test_a_run_on_given_images_resumes_exactly(teacher, student, tmp_path, monkeypatch):
    pixels = (255 * some_images(40, 3)).to(torch.uint8)

    def whole(**options):
        return dfkd.distill(
            teacher, copy.deepcopy(student), recipe=plan_of("images"), steps=8, device="cpu",
            images=GivenImages(pixels, None, "forty"), precision="fp32", **options,
        )  # fmt: skip

    check_resume(whole, tmp_path / "run", monkeypatch)


def test_it_runs_on_given_images_and_is_refused_without(teacher, student, tmp_path):
    plan, images = plan_of("images"), (255 * some_images(40, 0)).to(torch.uint8)
    with pytest.raises(DfkdError, match="`images=DATA`") as refusal:
        dfkd.distill(teacher, student, recipe=plan, steps=2, device="cpu", out=tmp_path / "run")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()
    given = GivenImages(images, None, "own")
    options = {"recipe": plan, "steps": 2, "device": "cpu"}
    result = dfkd.distill(teacher, student, images=given, out=tmp_path / "run", **options)
    assert result.figures["student_steps"] == 2
    # A batch for the critic and one for the student in every step.
    assert result.figures["images_synthesized"] == 2 * 2 * plan.alternation.batch_size
    assert "40 images of own" in (tmp_path / "run/manifest.json").read_text()
    dfkd.distill(teacher, student, images=given, recipe=plan_of("logits"), steps=1, device="cpu")


def test_the_commands_words_reach_it(tmp_path, capsys):
    images = (255 * some_images(40, 0)).to(torch.uint8)[:, 0].numpy()
    np.savez(tmp_path / "own.npz", images=images)
    words = [
        "distill", "bundled:digits_vgg", "dfkd.networks:vgg?widths=(8,16)", "--steps", "2",
        "--scheme", "adversarial", "--set", "scheme_config.form=images",
        "--set", "scheme_config.ngf=4",
        "--images", f"npz:{tmp_path / 'own.npz'}", "--device", "cpu", "--out", f"{tmp_path / 'r'}",
    ]  # fmt: skip
    assert cli.main(words) in (0, FAILED), capsys.readouterr().err
    assert (tmp_path / "r" / "student.safetensors").exists()


def test_images_too_small_for_a_critic_are_refused():
    small = Teacher(vgg((4,), 1, 1, 4), ImageSpec(1, 6, 9))
    with pytest.raises(DfkdError, match="at least 8x8, not 6x9"):
        build(small, vgg((4,), 1, 1, 4), form="images")


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"form": "logit"}, "did you mean 'logits'"),
        ({"loss": "hinges"}, "did you mean 'hinge'"),
        ({"weight": -0.1}, "weight must be at least 0"),
        ({"noise": float("nan")}, "noise must be at least 0"),
        ({"critic_lr": 0.0}, "critic_lr must be positive"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_impossible_settings(settings, what):
    with pytest.raises(DfkdError, match=what) as refusal:
        AdversarialConfig(**settings)
    assert "\n" not in str(refusal.value)


def test_its_recipe_survives_a_file():
    plan = plan_of("features")
    assert recipes.from_dict(recipes.to_dict(plan)) == plan


def test_two_processes_blur_as_one():
    real = torch.rand(16, 4, generator=torch.Generator().manual_seed(0)) ** 3

    @dataclasses.dataclass(frozen=True)
    class One(Runtime):
        """One of two processes, which is told what both have."""

        def gather(self, values):
            return real

    places = (One(torch.device("cpu"), "fp32", rank, 2) for rank in (0, 1))
    whole, *halves = (
        CriticTrainer([nn.Linear(4, 1)], "bce", 1e-3, 0.5, 0, runtime.device, runtime)
        for runtime in (SINGLE_PROCESS, *places)
    )
    wanted = whole._with_noise(real, real)
    for rank, judge in enumerate(halves):
        own = real[rank::2]
        torch.testing.assert_close(judge._with_noise(own, own), wanted[rank::2])
