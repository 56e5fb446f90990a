"""Mutual learning: what students take from each other, what they do not, and who is kept."""

import copy
import dataclasses

import pytest
import torch

import dfkd
from dfkd.datasets import GivenImages, LabelledImages
from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.online import AgreementEMA
from dfkd.distillation.schemes.online_config import OnlineConfig
from dfkd.distillation.student_init import start_student
from dfkd.errors import DfkdError
from dfkd.loading import load_student_model
from dfkd.losses.response import kl_divergence
from dfkd.networks import resnet, vgg
from dfkd.protocols import Batch
from dfkd.recipes import override, recipe, with_scheme
from dfkd.recipes.schemes import build_distiller
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from dfkd.training.checkpoint import snapshot
from dfkd.training.distributed import Runtime

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0)
PEER = "dfkd.networks:vgg?widths=(4,6)&convolutions=1"


def images_of(step: int = 0, count: int = 16) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(step))


def online(teacher, student, config=CONFIG, runtime=None, **settings):
    options = {"runtime": runtime} if runtime else {}
    chosen = OnlineConfig(**settings)
    return build_distiller(teacher, student, config, 0, "online", chosen, **options)


def caught_losses(distiller, monkeypatch, batch):
    """The losses of one update, one a student; nobody steps."""
    losses = []
    monkeypatch.setattr(Learner, "learn", lambda self, loss: losses.append(loss))
    distiller.update(batch)
    return losses


def test_without_mutual_knowledge_the_student_learns_as_offline(tiny_teacher, tiny_student):
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9, knowledge="kd + 0.5*hint")
    alone = copy.deepcopy(tiny_student)
    together = online(tiny_teacher, tiny_student, config, mutual=0.0)
    offline = build_distiller(tiny_teacher, alone, config, 0)
    for step in range(5):
        for distiller in (together, offline):
            distiller.set_progress(step / 5)
            distiller.update(Batch(images_of(step)))
    ours, theirs = tiny_student.state_dict(), alone.state_dict()
    assert all(map(torch.equal, ours.values(), theirs.values()))
    ours, theirs = together.learners[0].finished(), offline.finished()
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


def test_each_learns_the_teacher_and_the_mean_of_the_others(
    tiny_teacher, tiny_student, monkeypatch
):
    distiller = online(tiny_teacher, tiny_student, students=3, mutual=0.7)
    networks = [copy.deepcopy(learner.student).train() for learner in distiller.learners]
    losses = caught_losses(distiller, monkeypatch, Batch(images_of()))
    said = [network(tiny_teacher.spec.normalize(images_of())) for network in networks]
    taught = tiny_teacher(images_of())
    for index, loss in enumerate(losses):
        # What they think of each other is not softened, whatever the knowledge is.
        others = (said[j] for j in range(3) if j != index)
        first, second = (kl_divergence(said[index], other, temperature=1.0) for other in others)
        wanted = kl_divergence(said[index], taught) + 0.7 * (first + second) / 2
        torch.testing.assert_close(loss, wanted)
        assert first > 0


def test_no_gradient_passes_from_one_to_another(tiny_teacher, tiny_student, monkeypatch):
    distiller = online(tiny_teacher, tiny_student, students=3)
    losses = caught_losses(distiller, monkeypatch, Batch(images_of()))
    for index, loss in enumerate(losses):
        for other, learner in enumerate(distiller.learners):
            weights = list(learner.student.parameters())
            found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            assert any(g is not None for g in found) == (other == index)


@pytest.mark.parametrize(("knowledge", "asked"), [("kd", 1), ("kd + hint", 3)])
def test_the_teacher_is_asked_once_for_all(knowledge, asked, tiny_teacher, tiny_student):
    config = dataclasses.replace(CONFIG, knowledge=knowledge)
    distiller = online(tiny_teacher, tiny_student, config, students=3)
    distiller.update(Batch(images_of()))
    # What is looked at inside the teacher cannot be cached.
    assert distiller.teacher_images == 16 * asked
    distiller = online(tiny_teacher, tiny_student, students=3)
    distiller.update(Batch(images_of(), tiny_teacher.predict(images_of())))
    assert distiller.teacher_images == 0


def test_with_hard_knowledge_labels_teach_and_the_teacher_does_not(
    tiny_teacher, tiny_student, monkeypatch
):
    config = dataclasses.replace(CONFIG, knowledge="hard")
    labels, cached = torch.arange(16) % 4, tiny_teacher(images_of())
    losses = [
        caught_losses(
            online(tiny_teacher, copy.deepcopy(tiny_student), config),
            monkeypatch,
            Batch(images_of(), Prediction(logits), labels),
        )
        for logits in (cached, cached.flip(1))
    ]
    for first, second in zip(*losses, strict=True):
        assert torch.equal(first, second)


def test_a_run_without_the_teachers_logits_learns_from_labels(tiny_teacher):
    images, labels = (255 * images_of(count=64)).to(torch.uint8), torch.arange(64) % 2
    images[labels == 1] //= 3  # dark ones: nothing that the teacher calls a class
    plan = override(with_scheme(recipe("drawings"), "online"), ["learner.knowledge=hard"])
    data = LabelledImages(images, labels, "given")
    result = dfkd.distill(
        tiny_teacher, vgg((8,), 1, 1, 4), recipe=dataclasses.replace(plan, init="random"), steps=80,
        images=GivenImages(images, labels, "npz:given"), evaluation=data, device="cpu",
        precision="fp32",
    )  # fmt: skip
    assert result.figures["student_accuracy"] > 0.9


def test_peers_start_from_weights_of_their_own(tiny_teacher):
    student = vgg((8, 4), 1, 1, 4)
    start_student(student, tiny_teacher.network, "teacher", "frozen")
    frozen = [not p.requires_grad for p in student.parameters()]
    before = torch.random.get_rng_state()
    distiller = online(tiny_teacher, student, students=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    first, second, third = (learner.student for learner in distiller.learners)
    assert any(frozen)
    assert not all(frozen)
    assert [not p.requires_grad for p in first.parameters()] == frozen
    assert all(p.requires_grad for peer in (second, third) for p in peer.parameters())
    weights = [one.stages[0][0].weight for one in (first, second, third)]
    assert not any(torch.equal(weights[a], weights[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    again = online(tiny_teacher, student, students=3).learners[2].student
    assert torch.equal(again.head.weight, third.head.weight)


def test_the_best_of_one_architecture_is_kept(tiny_teacher, tiny_student):
    distiller = online(tiny_teacher, tiny_student, students=3)
    finished = distiller.finished()
    assert torch.equal(finished.head.weight, tiny_student.head.weight)  # of equals the first
    assert list(distiller.networks()) == ["peer 2", "peer 3"]
    distiller._agreement.agreement.copy_(torch.tensor([0.2, 0.1, 0.9]))
    third = distiller.learners[2].student
    assert torch.equal(distiller.finished().head.weight, third.head.weight)
    assert list(distiller.networks()) == ["peer 1", "peer 2"]
    assert all(not network.training for network in distiller.networks().values())


def test_an_unequal_peer_is_kept_where_it_is_best_and_not_told_otherwise(
    tiny_teacher, tiny_student
):
    distiller = online(tiny_teacher, tiny_student, peers=(PEER,), students=3)
    distiller._agreement.agreement.copy_(torch.tensor([0.2, 0.9, 0.1]))
    second = distiller.learners[1].student
    assert torch.equal(distiller.finished().head.weight, second.head.weight)
    assert distiller.source()[0] == "dfkd.networks:vgg"
    assert list(distiller.networks()) == ["peer 1", "peer 3"]
    distiller._agreement.agreement.copy_(torch.tensor([0.2, 0.1, 0.9]))
    assert distiller.source() is None  # it is built as the first is
    distiller = online(tiny_teacher, tiny_student, peers=(PEER,), students=3, kept="alike")
    shapes = [len(learner.student.stages) for learner in distiller.learners]
    assert shapes == [1, 2, 1]
    metrics = distiller.update(Batch(images_of()))
    assert metrics["mutual"] > 0
    distiller._agreement.agreement.copy_(torch.tensor([0.2, 0.9, 0.1]))
    assert list(distiller.networks()) == ["peer 2", "peer 3"]
    tiny_student.load_state_dict(distiller.finished().state_dict())
    first, second = (online(tiny_teacher, tiny_student, peers=(PEER,)) for _ in range(2))
    twins = [distiller.learners[1].student for distiller in (first, second)]
    assert torch.equal(twins[0].head.weight, twins[1].head.weight)


def test_agreement_is_that_before_the_step(tiny_teacher, tiny_student):
    distiller = online(tiny_teacher, tiny_student)
    networks = [copy.deepcopy(learner.student).train() for learner in distiller.learners]
    metrics = distiller.update(Batch(images_of()))
    decided = tiny_teacher(images_of()).argmax(1)
    shares = torch.stack(
        [
            (network(tiny_teacher.spec.normalize(images_of())).argmax(1) == decided).float().mean()
            for network in networks
        ]
    )
    assert metrics["agreement"] == shares[0]
    assert metrics["peer_2_agreement"] == shares[1]
    torch.testing.assert_close(distiller._agreement.agreement, 0.01 * shares)


def test_resuming_is_exact(tiny_teacher, tiny_student):
    config = dataclasses.replace(CONFIG, flip=0.5, ema=0.9)
    started = copy.deepcopy(tiny_student)
    whole, part = (
        online(tiny_teacher, copy.deepcopy(started), config, peers=(PEER,), students=3)
        for _ in range(2)
    )
    for step in range(6):
        whole.update(Batch(images_of(step)))
        if step < 3:
            part.update(Batch(images_of(step)))
    resumed = online(tiny_teacher, copy.deepcopy(started), config, peers=(PEER,), students=3)
    resumed.load_state_dict(snapshot(part.state_dict()))
    for step in range(3, 6):
        resumed.update(Batch(images_of(step)))
    networks = [("kept", whole.finished(), resumed.finished())]
    networks += [(name, n, resumed.networks()[name]) for name, n in whole.networks().items()]
    for name, one, other in networks:
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name
    assert torch.equal(whole._agreement.agreement, resumed._agreement.agreement)
    assert whole.teacher_images == resumed.teacher_images


def test_all_come_nearer_to_the_teacher_and_it_stays_as_it_was(tiny_teacher, tiny_student):
    before = tiny_teacher.fingerprint()
    distiller = online(tiny_teacher, tiny_student)
    found = [distiller.update(Batch(images_of(count=64))) for _ in range(60)]
    for name in ("kd", "mutual"):
        assert found[-1][name] < 0.5 * found[0][name], name
    for name in ("agreement", "peer_2_agreement"):
        assert found[-1][name] > 0.8, name
    assert tiny_teacher.fingerprint() == before


def test_half_precision_learns_too(tiny_teacher, tiny_student):
    runtime = Runtime(torch.device("cpu"), "bf16", 0, 1)
    distiller = online(tiny_teacher, tiny_student, runtime=runtime)
    found = [distiller.update(Batch(images_of()))["kd"] for _ in range(30)]
    assert found[-1] < 0.7 * found[0]
    assert found[-1].dtype == torch.float32


def test_the_meta_device_is_never_read():
    teacher = Teacher(resnet(20, 1, 10).to("meta"), ImageSpec(1, 16, 16))
    student = resnet(8, 1, 10).to("meta")
    peers = ("dfkd.networks:resnet?depth=14",)
    distiller = online(teacher, student, peers=peers, students=3)
    metrics = distiller.update(Batch(torch.rand(4, 1, 16, 16, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"students": 1}, "two at least"),
        ({"peers": (PEER, PEER)}, "2 peers and the student.*scheme_config.students=3"),
        ({"kept": "first"}, "kept must be best or alike, not 'first'"),
        ({"mutual": -1.0}, "mutual"),
        ({"mutual": float("inf")}, "mutual"),
    ],
)
def test_impossible_settings_are_refused(settings, what):
    with pytest.raises(DfkdError, match=what) as refusal:
        OnlineConfig(**settings)
    assert "\n" not in str(refusal.value)


def test_a_run_reports_every_peer(tiny_teacher, tiny_student):
    data = LabelledImages(
        (255 * images_of(count=32)).to(torch.uint8), torch.arange(32) % 4, "noise"
    )
    plan = with_scheme(recipe("drawings"), "online")
    result = dfkd.distill(
        tiny_teacher, tiny_student, recipe=plan, steps=3, evaluation=data, device="cpu",
        precision="fp32", compile="off",
    )  # fmt: skip
    names = [row["name"] for row in result.figures["comparison"]]
    assert names[:2] == ["teacher", "student"]
    assert len(names) == 3
    assert names[2].startswith("peer ")


def test_the_best_comes_back_from_its_run_whatever_its_architecture(
    tiny_teacher, tiny_student, tmp_path, monkeypatch
):
    data = LabelledImages(
        (255 * images_of(count=32)).to(torch.uint8), torch.arange(32) % 4, "noise"
    )
    note = AgreementEMA.update
    # The first is the best until the third step; then the peer is.
    monkeypatch.setattr(
        AgreementEMA, "update",
        lambda self, agreement: note(
            self, torch.tensor([1.0, 0.0]) if float(self.agreement[0]) < 0.015 else
            torch.tensor([0.0, 1.0]),
        ),
    )  # fmt: skip
    plan = override(with_scheme(recipe("drawings"), "online"), [f"scheme_config.peers=[{PEER!r}]"])
    for evaluation in (data, None):
        out = tmp_path / f"run_{evaluation is None}"
        result = dfkd.distill(
            tiny_teacher, copy.deepcopy(tiny_student), recipe=plan, steps=6, device="cpu",
            evaluation=evaluation, precision="fp32", compile="off", out=out,
            curve=3 if evaluation else 0,
        )  # fmt: skip
        assert len(result.student.stages) == 2
        again = load_student_model(f"run:{out}", tiny_teacher).network.state_dict()
        assert all(map(torch.equal, again.values(), result.student.state_dict().values()))
    assert result.figures["agreement_of_others"].keys() == {"peer 1"}


def test_a_peer_without_a_layer_that_is_named_is_named_itself(tiny_teacher):
    peer = "dfkd.networks:resnet?depth=8&widths=(4,4,4)"
    config = dataclasses.replace(
        CONFIG, knowledge="kd + hint", pairs=("teacher.stages.1=student.stages.1",)
    )
    with pytest.raises(DfkdError, match=r"^peer 2, dfkd.networks:resnet.*: no layer 'stages.1'"):
        online(tiny_teacher, vgg((8, 16), 1, 1, 4), config, peers=(peer,))
