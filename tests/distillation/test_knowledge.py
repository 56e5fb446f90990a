"""What is transferred: the expression, what each kind looks at, and that students learn it."""

import copy
import dataclasses
import inspect
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dfkd.distillation.adapters import build_losses
from dfkd.distillation.learner import Learner
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.errors import DfkdError
from dfkd.losses import response
from dfkd.losses.attention import class_activation_map
from dfkd.losses.objective import parse
from dfkd.losses.registry import KNOWLEDGE
from dfkd.networks import resnet, vgg
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.tasks import Prediction
from dfkd.teacher import Teacher
from dfkd.teacher.forward import PairedForward
from dfkd.teacher.spec import ImageSpec

CONFIG = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0, ema=0.0)
NAMES = [*KNOWLEDGE, *(f"{n}@std" for n, kind in KNOWLEDGE.items() if kind.of_logits)]
BLANKS = st.sampled_from(["", " ", "  ", "\t", "\n"])
WEIGHTS = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)


@given(
    st.dictionaries(st.sampled_from(NAMES), st.none() | WEIGHTS, min_size=1),
    st.lists(BLANKS, min_size=4 * len(NAMES), max_size=4 * len(NAMES)),
)
def test_what_is_written_is_read(weights, blanks):
    space = iter(blanks)
    terms = [
        name if weight is None else f"{weight!r}{next(space)}*{next(space)}{name}"
        for name, weight in weights.items()
    ]
    expression = "+".join(f"{next(space)}{term}{next(space)}" for term in terms)
    expected = {name: 1.0 if weight is None else weight for name, weight in weights.items()}
    assert list(parse(expression).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("expression", "column", "what"),
    [
        ("", 1, "a term such as"),
        ("   ", 4, "a term such as"),
        ("kd +", 5, "a term such as"),
        ("kd +  ?", 7, "a term such as"),
        ("+ kd", 1, "a term such as"),
        ("-1*kd", 1, "a term such as"),
        ("kd + -1*at", 6, "a term such as"),
        ("kd + +at", 6, "a term such as"),
        ("2*", 1, "a term such as"),
        ("2", 1, "a term such as"),
        ("(kd)", 1, "a term such as"),
        ("nan*kd", 1, "unknown loss 'nan'"),
        ("inf*kd", 1, "unknown loss 'inf'"),
        ("kd at", 4, "joined by +"),
        ("kd*2", 3, "joined by +"),
        ("kd - at", 4, "joined by +"),
        ("kd, at", 3, "joined by +"),
        ("0*kd", 1, "positive"),
        ("kd + 0.0*at", 6, "positive"),
        ("1e-999*kd", 1, "positive"),
        ("kd + 1e999*at", 6, "finite"),
        ("kd + 1.2.3*at", 6, "no number: 1.2.3"),
        (".*kd", 1, "no number: ."),
        ("kd + 2*kd", 8, "kd stands there twice"),
        ("kd + at + kd", 11, "kd stands there twice"),
        ("kd + grad_kam", 6, "unknown loss 'grad_kam'; did you mean 'grad_cam'?"),
        ("kd + 2 * l2", 10, "unknown loss 'l2'; did you mean 'l1'?"),
        ("kd@", 3, "unknown modifier ''; choose from std"),
        ("kd + 2*kd@sdt", 10, "unknown modifier 'sdt'; did you mean 'std'?"),
        ("kd + at@std", 8, "std changes logits, and at takes none"),
        ("kd@std@std", 7, "joined by +"),
        ("kd @std", 4, "joined by +"),
        ("kd@std + kd@std", 10, "kd@std stands there twice"),
        ("kd + 0*kd@std", 6, "positive"),
        ("kd + zzzzz", 6, "unknown loss 'zzzzz'; choose from at, cam, cc, crd, dist,"),
    ],
)
def test_errors_point_at_the_column(expression, column, what):
    with pytest.raises(DfkdError) as refusal:
        parse(expression)
    message = str(refusal.value)
    assert message.startswith(f"knowledge {expression!r}, column {column}: ")
    assert what in message
    assert "\n" not in message
    with pytest.raises(DfkdError):
        LearnerConfig(knowledge=expression)


@given(st.text(alphabet="kdatcm_l1*+-. e@s", max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        weights = parse(text)
    except DfkdError:
        return
    assert weights
    assert all(0 < weight < math.inf for weight in weights.values())


@pytest.fixture
def pair():
    """A teacher whose statistics and answers mean something, and a student with as many stages."""
    torch.manual_seed(0)
    network = vgg((8, 16), 1, 1, 4)
    for _ in range(20):
        network(torch.rand(32, 1, 8, 8))
    network.head.weight.data *= 5
    return Teacher(network, ImageSpec(1, 8, 8, (0.4,), (0.3,))), vgg((6, 10), 1, 1, 4)


def some_images(count: int = 32) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def forward(teacher, student, names):
    rows = [KNOWLEDGE[name] for name in names]
    vectors = all(row.vectors for row in rows if row.features)
    pair = PairedForward(
        teacher, {path for row in rows for path in row.needs}, student, vectors=vectors
    )
    pair.temperature = 4.0
    return pair


def ask(teacher, student, names, cached=None):
    return forward(teacher, student, names).learn(some_images(), cached)


def learn(knowledge, teacher, student, updates=60, cached=None):
    """Metrics of the first and the last update, all on the same images."""
    config = dataclasses.replace(CONFIG, knowledge=knowledge)
    distiller = build_distiller(teacher, student, config, seed=0)
    found = [
        distiller.update(Batch(some_images(), None if cached is None else Prediction(cached)))
        for _ in range(updates)
    ]
    return distiller, found[0], found[-1]


EXPRESSIONS = [
    "kd + 250*at", "l1", "mse", "kd_mean", "kd + cam + grad_cam", "grad_cam + at", "hard", "dkd",
    "kd + hint", "kd + vid", "kd + 3*fsp", "kd + 25*rkd", "kd + 30*rkd_distance",
    "kd + 9*rkd_angle", "kd + 300*sp", "kd + 9*cc", "kd + crd", "dist", "sigmoid_kd",
    "9*kd@std", "dkd@std + l1@std", "kd + 50*nst", "kd + 300*pkt", "kd + reviewkd", "kd + ofd",
]  # fmt: skip


SHARE = {"hard": 0.99, "dkd": 0.9, "vid": 0.95, "crd": 0.97, "hint": 0.9, "cc": 0.9}
"""What is left of a term after 60 steps, where it falls slowly by its nature: a likelihood or a
contrast has no zero to go to, and adapters have to be learnt first."""


@pytest.mark.parametrize("knowledge", EXPRESSIONS)
def test_a_student_learns_every_term(knowledge, pair):
    teacher, student = pair
    before = teacher.fingerprint()
    _, first, last = learn(knowledge, teacher, student)
    for name in parse(knowledge):
        assert first[f"{name}"] > 0
        assert last[f"{name}"] < SHARE.get(name, 0.7) * first[f"{name}"], name
    assert set(first) == {f"{name}" for name in [*parse(knowledge), "agreement"]}
    assert teacher.fingerprint() == before
    assert all(p.grad is None and not p.requires_grad for p in teacher.network.parameters())


def test_the_loss_is_the_weighted_sum(pair, monkeypatch):
    teacher, student = pair
    losses = []
    config = dataclasses.replace(CONFIG, knowledge="kd + 250*at + 0.5*l1")
    distiller = build_distiller(teacher, student, config, 0)
    learn = Learner.learn
    monkeypatch.setattr(
        Learner, "learn", lambda self, loss: (losses.append(loss), learn(self, loss))
    )
    parts = distiller.update(Batch(some_images()))
    wanted = parts["kd"] + 250 * parts["at"]
    torch.testing.assert_close(losses[0].detach(), wanted + 0.5 * parts["l1"])


@pytest.mark.parametrize(
    ("knowledge", "shown"), [("kd", 0), ("l1 + mse", 0), ("kd + at", 32), ("kd + grad_cam", 32)]
)
def test_cached_answers_are_used_unless_features_are_wanted(knowledge, shown, pair):
    teacher, student = pair
    wrong = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    distiller, first, _ = learn(knowledge, teacher, copy.deepcopy(student), 2, cached=wrong)
    assert distiller.teacher_images == 2 * shown
    _, asked, _ = learn(knowledge, teacher, copy.deepcopy(student), 2)
    same = all(torch.equal(first[name], asked[name]) for name in asked)
    assert same == (shown > 0)


def test_what_was_asked_is_what_the_networks_say(pair):
    teacher, student = pair
    answers = ask(teacher, student, ["kd", "cam", "grad_cam"])
    images = some_images()
    assert torch.equal(answers.teacher.logits, teacher(images))
    torch.testing.assert_close(answers.student.logits, student(teacher.spec.normalize(images)))
    assert [f.shape[1:] for f in answers.student.features] == [(6, 8, 8), (10, 4, 4)]
    assert [f.shape[1:] for f in answers.teacher.features] == [(8, 8, 8), (16, 4, 4)]
    held = (answers.teacher.logits, *answers.teacher.features, *answers.teacher.gradients)
    assert not any(value.requires_grad for value in held)
    assert all(value.requires_grad for value in answers.student.gradients)
    # The last gradient is the head's weights, spread over the 16 places that are averaged.
    weight = teacher.network.head.weight[answers.decisions] / 16
    expected = weight[:, :, None, None].expand(-1, -1, 4, 4)
    torch.testing.assert_close(answers.teacher.gradients[-1], expected)


def test_cam_compares_the_evidence_for_the_teachers_decision(pair):
    teacher, student = pair
    answers = ask(teacher, student, ["cam"])
    assert not answers.student.gradients
    mine, theirs = (
        class_activation_map(last, head, answers.teacher.logits.argmax(1))
        for last, head in (
            (answers.student.last_map, student.head.weight),
            (answers.teacher.last_map, teacher.network.head.weight),
        )
    )
    torch.testing.assert_close(KNOWLEDGE["cam"](answers), (mine - theirs).square().mean())


def test_cams_of_different_sizes_are_compared_cell_by_cell(pair):
    teacher = pair[0]
    student = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                            nn.Linear(6, 4))  # fmt: skip
    answers = ask(teacher, student, ["cam"])
    assert answers.student.last_map.shape[2:] == (8, 8)
    assert answers.teacher.last_map.shape[2:] == (4, 4)
    maps = class_activation_map(answers.student.last_map, student[3].weight, answers.decisions)
    theirs = class_activation_map(
        answers.teacher.last_map, teacher.network.head.weight, answers.decisions
    )
    mine = maps.unflatten(1, (4, 2)).unflatten(3, (4, 2)).mean((2, 4))
    torch.testing.assert_close(KNOWLEDGE["cam"](answers), (mine - theirs).square().mean())


def test_grad_cams_are_compared_as_they_are_at_every_depth(pair):
    answers = ask(*pair, ["grad_cam"])
    wanted = []
    for depth in range(2):
        mine, theirs = (
            ((gradients[depth].mean((2, 3), keepdim=True)) * features[depth]).sum(1).relu()
            for features, gradients in (
                (answers.student.features, answers.student.gradients),
                (answers.teacher.features, answers.teacher.gradients),
            )
        )
        wanted.append((mine - theirs).square().mean())
    torch.testing.assert_close(KNOWLEDGE["grad_cam"](answers), sum(wanted))


def test_a_copy_of_the_teacher_has_nothing_to_learn(pair):
    teacher, _ = pair
    answers = ask(teacher, copy.deepcopy(teacher.network), KNOWLEDGE)
    for name, kind in KNOWLEDGE.items():
        if not kind.learned and name != "hard":
            assert kind(answers).abs() < 1e-5, name


def test_one_pass_of_the_teacher_is_enough_and_leaves_no_graph(pair):
    teacher, student = pair
    passes = []
    teacher.network.register_forward_hook(lambda *_: passes.append(1))
    passes.clear()
    asking = forward(teacher, student, ["kd", "grad_cam"])
    passes.clear()  # without the grey images of the constructor
    answers = asking.learn(some_images())
    (KNOWLEDGE["kd"](answers) + KNOWLEDGE["grad_cam"](answers)).backward()
    assert len(passes) == 1


def test_frozen_layers_still_have_their_maps(pair):
    teacher, student = pair
    student.stages.requires_grad_(False)
    _, first, last = learn("kd + cam + grad_cam", teacher, student)
    assert last["cam"] < first["cam"]
    assert all(p.grad is None for p in student.stages.parameters())


def test_bfloat16_features_are_compared_in_float32(pair):
    teacher, student = pair
    plain = ask(teacher, student, ["kd", "at", "cam", "grad_cam"])
    teacher.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    narrow = ask(teacher, student, ["kd", "at", "cam", "grad_cam"])
    for values in (narrow.student.features, narrow.teacher.gradients, narrow.student.gradients):
        assert all(value.dtype == torch.float32 for value in values)
    for name in ("at", "cam", "grad_cam"):
        loss, wanted = KNOWLEDGE[name](narrow), KNOWLEDGE[name](plain)
        torch.testing.assert_close(loss, wanted, rtol=0.1, atol=1e-3)
        loss.backward(retain_graph=True)


@pytest.mark.parametrize("knowledge", ["at", "cam", "grad_cam"])
def test_a_student_without_such_maps_is_refused_in_one_line(knowledge, pair):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(DfkdError, match="feature maps") as refusal:
        learn(knowledge, pair[0], flat, 1)
    assert "\n" not in str(refusal.value)


def test_a_student_without_a_linear_end_is_refused_by_cam(pair):
    ends_in_convolution = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    with pytest.raises(DfkdError, match="no linear layer with 4 outputs"):
        learn("cam", pair[0], ends_in_convolution, 1)
    learn("at", pair[0], ends_in_convolution, 1)


class Flattened(nn.Module):
    """Reads every place of its last map, and has a layer that its logits do not depend on."""

    def __init__(self):
        super().__init__()
        self.aside, self.conv = (nn.Conv2d(1, 4, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(256, 4)

    def forward(self, x):
        self.aside(x)
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize(
    "between", [F.relu, lambda maps: F.max_pool2d(maps, 8)], ids=["activation", "maxima"]
)
@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_cam_refuses_a_classifier_that_reads_no_average_of_the_last_map(whose, between, pair):
    class Functional(nn.Module):
        """What lies between its last map and its classifier is no module."""

        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 4)

        def forward(self, x):
            return self.head(between(self.conv(x)).mean((2, 3)))

    torch.manual_seed(0)
    teacher, student = pair
    student = Functional() if whose == "student" else student
    teacher = Teacher(Functional(), teacher.spec) if whose == "teacher" else teacher
    config = dataclasses.replace(CONFIG, knowledge="kd + cam")
    with pytest.raises(DfkdError, match=f"the {whose}'s reads something else than .* 'conv'"):
        build_distiller(teacher, student, config, 0)


@pytest.mark.parametrize(
    ("knowledge", "pairs", "what"),
    [
        ("cam", (), "reads 256 numbers.*`knowledge"),
        ("grad_cam", ("teacher.stages.0=student.aside",), "no logit depends on"),
    ],
)
def test_what_only_a_trial_can_tell_is_refused_before_a_step(knowledge, pairs, what, pair):
    config = dataclasses.replace(CONFIG, knowledge=f"kd + {knowledge}", pairs=pairs)
    with pytest.raises(DfkdError, match=what) as refusal:
        build_distiller(pair[0], Flattened(), config, 0)
    assert "\n" not in str(refusal.value)


def test_the_scales_of_the_kinds(pair):
    answers = ask(*pair, ["kd"])
    pieces = answers.student.logits, answers.teacher.logits
    kd = response.kl_divergence(*pieces, temperature=4.0)
    torch.testing.assert_close(KNOWLEDGE["kd"](answers), kd)
    torch.testing.assert_close(KNOWLEDGE["kd_mean"](answers), kd / 4)


@pytest.mark.parametrize("knowledge", [*EXPRESSIONS, "kd"])
def test_the_meta_device_is_never_read(knowledge):
    teacher = Teacher(resnet(20, 1, 10).to("meta"), ImageSpec(1, 16, 16))
    config = dataclasses.replace(CONFIG, knowledge=knowledge)
    distiller = build_distiller(teacher, resnet(8, 1, 10).to("meta"), config, 0)
    metrics = distiller.update(Batch(torch.rand(4, 1, 16, 16, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())


LEARNT = {"hint", "vid", "fsp", "crd", "reviewkd", "ofd"}


def test_every_kind_has_a_line_and_a_weight_and_one_loss():
    for name, kind in KNOWLEDGE.items():
        assert re.search(r"\b20[0-9]{2}\b", kind.source), f"{name} names no source"
        assert kind.weight > 0, name
        assert inspect.isclass(kind.function) == kind.learned, name
    assert {name for name, kind in KNOWLEDGE.items() if kind.learned} == LEARNT


@pytest.mark.parametrize("name", sorted(LEARNT))
def test_adapters_are_trained_resumed_and_never_shipped(name, pair):
    teacher, student = pair
    config = dataclasses.replace(CONFIG, knowledge=f"kd + {name}")
    distiller = build_distiller(teacher, student, config, seed=0)
    aids = distiller.learners[0].adapters
    before = copy.deepcopy(aids.state_dict())
    for _ in range(3):
        distiller.update(Batch(some_images()))
    saved = copy.deepcopy(distiller.state_dict())
    parameters = dict(aids.named_parameters())
    assert parameters
    assert all(not torch.equal(p, before[key]) for key, p in parameters.items())
    assert set(distiller.finished().state_dict()) == set(student.state_dict())
    goes_on = [distiller.update(Batch(some_images())) for _ in range(3)]
    again = build_distiller(teacher, vgg((6, 10), 1, 1, 4), config, seed=5)
    again.load_state_dict(saved)
    for wanted in goes_on:
        found = again.update(Batch(some_images()))
        assert all(torch.equal(found[key], value) for key, value in wanted.items())


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("muon", "AdamW"), ("adamw", "AdamW"), ("sgd", "SGD")]
)
def test_adapters_learn_as_the_student_does_and_their_scales_never_decay(optimizer, kind, pair):
    config = dataclasses.replace(CONFIG, knowledge="kd + vid", optimizer=optimizer)
    learner = build_distiller(*pair, config, 0).learners[0]
    aids = learner._adapters_optimizer
    assert type(aids).__name__ == kind
    decays = {p: group["weight_decay"] for group in aids.param_groups for p in group["params"]}
    assert set(decays) == set(learner.adapters.parameters())
    assert all((decay > 0) == (p.ndim > 1) for p, decay in decays.items())


def test_each_side_of_the_contrast_is_told_from_the_other_sides_memory(pair):
    answers = ask(*pair, ["crd"])
    _, adapters = build_losses({"crd": KNOWLEDGE["crd"]}, lambda: answers, seed=3)
    contrast = adapters["crd"]
    student, teacher = (
        F.normalize(project(embedding), dim=1)
        for project, embedding in zip(
            (contrast.student, contrast.teacher),
            (answers.student.embedding, answers.teacher.embedding),
            strict=True,
        )
    )
    own = torch.arange(len(student))
    wanted = sum(
        F.cross_entropy(one @ torch.cat([other, memory]).T / 0.07, own)
        for one, other, memory in (
            (student, teacher, contrast.teacher_memory.clone()),
            (teacher, student, contrast.student_memory.clone()),
        )
    )
    embeddings = answers.student.embedding, answers.teacher.embedding
    torch.testing.assert_close(contrast(*embeddings), wanted)


def test_a_memory_forgets_the_oldest_and_goes_round(pair, monkeypatch):
    from dfkd.losses.modules import Contrast

    monkeypatch.setattr(Contrast, "MEMORY", 48)
    teacher, student = pair
    config = dataclasses.replace(CONFIG, knowledge="kd + crd", lr=0.0)
    distiller = build_distiller(teacher, student, config, seed=0)
    contrast = distiller.learners[0].adapters["crd"]
    start = contrast.teacher_memory.clone()
    distiller.update(Batch(some_images()))
    first = contrast.teacher_memory.clone()
    assert torch.equal(first[32:], start[32:])
    assert not torch.isclose(first[:32], start[:32]).all(1).any()
    distiller.update(Batch(some_images()))
    # The same 32 images again, from place 32 on: 16 to the end, 16 from the beginning.
    torch.testing.assert_close(contrast.teacher_memory[32:], first[:16])
    torch.testing.assert_close(contrast.teacher_memory[:16], first[16:32])
    assert contrast.get_extra_state() == 16


def test_labels_are_the_targets_where_images_have_some(pair):
    teacher, student = pair
    images, targets = some_images(), torch.zeros(32, dtype=torch.int64)
    config = dataclasses.replace(CONFIG, knowledge="hard")
    for said, labels in ((targets, targets), (None, teacher(images).argmax(1))):
        trained = copy.deepcopy(student)
        logits = copy.deepcopy(student).train()(teacher.spec.normalize(images))
        distiller = build_distiller(teacher, trained, config, 0)
        found = distiller.update(Batch(images, target=said))["hard"]
        torch.testing.assert_close(found, nn.functional.cross_entropy(logits, labels))


def test_named_pairs_are_compared_and_told(pair):
    teacher, student = pair
    names = ("teacher.stages.1=student.stages.1",)
    config = dataclasses.replace(CONFIG, knowledge="kd + at", pairs=names)
    distiller = build_distiller(teacher, student, config, 0)
    assert distiller.pairs == names
    found = build_distiller(teacher, student, dataclasses.replace(config, pairs=()), 0)
    assert len(found.pairs) == 2


def test_named_pairs_are_ordered_by_size_whatever_the_order_of_the_flags(pair):
    names = tuple(f"teacher.stages.{i}=student.stages.{i}" for i in (1, 0))
    config = dataclasses.replace(CONFIG, knowledge="kd + sp + fsp", pairs=names)
    # sp compares the last and fsp the way there.
    assert build_distiller(*pair, config, 0).pairs == names[::-1]


def test_the_attention_of_one_pixel_is_refused(pair):
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
            self.head = nn.Linear(4, 4)

        def forward(self, x):
            return self.head(self.pool(self.conv(x)).flatten(1))

    teacher = Teacher(Pooled(), pair[0].spec)
    config = dataclasses.replace(CONFIG, pairs=("teacher.pool=student.pool",))
    with pytest.raises(DfkdError, match=r"a map of one pixel .* `pairs`, or take hint"):
        build_distiller(teacher, Pooled(), dataclasses.replace(config, knowledge="at"), 0)
    build_distiller(teacher, Pooled(), dataclasses.replace(config, knowledge="hint"), 0)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("teacher.stages.0=student.stages.1", "no maps of one height and width"),
        ("teacher.head=student.head", "no maps of one height and width"),
        ("teacher.stages.7=student.stages.1", "no layer 'stages.7' in the teacher"),
        ("teacher.stages.0=student.stage.0", "no layer 'stage.0' in the student"),
        ("teacher.stages=student.stages.0", "teacher never calls its layer 'stages'"),
        ("teacher.stages.0=student.stages", "student never calls its layer 'stages'"),
    ],
)
def test_pairs_that_do_not_match_are_refused(words, what, pair):
    config = dataclasses.replace(CONFIG, knowledge="at", pairs=(words,))
    with pytest.raises(DfkdError, match=what) as refusal:
        build_distiller(*pair, config, 0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "words", ["", "a=b", "teacher.a", "teacher.a=teacher.b", "teacher.=student.b"]
)
def test_pairs_that_cannot_be_read_are_refused(words):
    with pytest.raises(DfkdError, match=r"teacher\.LAYER=student\.LAYER"):
        LearnerConfig(pairs=(words,))


def test_a_student_that_fails_is_left_in_its_mode(pair):
    teacher, student = pair
    asking = forward(teacher, student, ["kd"])
    student.train().register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(DfkdError, match=r"the student fails .*ZeroDivisionError"):
        asking.example()
    assert all(module.training for module in student.modules())


class Compiled(nn.Module):
    """As what torch.compile makes: it does not see hooks that are opened on the original later."""

    def __init__(self, network):
        super().__init__()
        self._orig_mod, self.run = network, (copy.deepcopy(network),)

    def forward(self, x):
        return self.run[0](x)


@pytest.mark.parametrize("pairs", [(), ("teacher.stages.0=student.stages.0",)])
def test_a_compiled_teacher_is_looked_into_as_well(pairs, pair):
    teacher, student = pair
    config = dataclasses.replace(CONFIG, knowledge="kd + at + rkd + cam", pairs=pairs)
    plain = build_distiller(teacher, copy.deepcopy(student), config, 0)
    found = build_distiller(Teacher(Compiled(teacher.network), teacher.spec), student, config, 0)
    assert found.pairs == plain.pairs
    told, wanted = (each.update(Batch(some_images())) for each in (found, plain))
    assert all(torch.equal(told[name], value) for name, value in wanted.items())


def test_one_pair_of_layers_has_no_flow(pair):
    names = ("teacher.stages.1=student.stages.1",)
    config = dataclasses.replace(CONFIG, knowledge="fsp", pairs=names)
    with pytest.raises(DfkdError, match="needs two pairs"):
        build_distiller(*pair, config, 0)


def test_the_temperature_follows_its_schedule(pair):
    config = dataclasses.replace(CONFIG, temperature=4.0, temperature_end=1.0)
    distiller = build_distiller(*pair, config, 0)
    learner = distiller.learners[0]
    for progress, wanted in ((0.0, 4.0), (0.5, 2.5), (1.0, 1.0)):
        distiller.set_progress(progress)
        assert learner.forward(Batch(some_images())).temperature == pytest.approx(wanted)
    with pytest.raises(DfkdError, match="temperature_end must be"):
        dataclasses.replace(config, temperature_end=0.0)


FLAT = "teacher.head.input=student.3.input"


def flat_student():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 4))


def test_students_without_maps_are_taught_by_their_answers_and_embeddings(pair):
    _, first, last = learn("kd + hard + rkd + cc + crd", pair[0], flat_student())
    assert last["kd"] < first["kd"]
    for name in ("fsp", "at", "hint + at"):
        with pytest.raises(DfkdError, match="none of one size"):
            learn(name, pair[0], flat_student(), 1)


@pytest.mark.parametrize("pairs", [(), (FLAT,)])
@pytest.mark.parametrize("name", ["hint", "vid", "sp"])
def test_vectors_are_compared_where_there_are_no_maps(name, pairs, pair):
    config = dataclasses.replace(CONFIG, knowledge=f"kd + {name}", pairs=pairs)
    distiller = build_distiller(pair[0], flat_student(), config, 0)
    assert distiller.pairs == (FLAT,)
    found = [distiller.update(Batch(some_images()))[f"{name}"] for _ in range(60)]
    assert found[-1] < found[0]
    if name == "hint":
        (adapter,) = distiller.learners[0].adapters["hint"].adapters
        assert adapter.weight.shape == (16, 9)


def test_a_recurrent_student_is_taught_by_what_enters_its_classifier():
    from dfkd.distillation.schemes.cross_modal import CrossModalConfig, put_behind_front_end
    from dfkd.networks import bilstm

    signals = CrossModalConfig(channels=3, frames=6, height=8, width=8)
    eyes = Teacher(vgg((8, 16), 1, 1, 4), ImageSpec(1, 8, 8))
    config = dataclasses.replace(CONFIG, knowledge="kd + hint + rkd")
    distiller = build_distiller(
        put_behind_front_end([eyes], signals),
        bilstm(5, 1, 3, 1, 4),
        config,
        0,
        "cross_modal",
        signals,
    )
    assert distiller.pairs == ("teacher.network.head.input=student.head.input",)
    images = torch.rand(16, 1, 3, 6, generator=torch.Generator().manual_seed(0))
    metrics = distiller.update(Batch(images))
    assert metrics["hint"] > 0
    assert metrics["rkd"] > 0


def test_a_critic_judges_vectors_as_well(pair):
    from dfkd.distillation.schemes.adversarial_config import AdversarialConfig

    settings = AdversarialConfig(form="features")
    distiller = build_distiller(pair[0], flat_student(), CONFIG, 0, "adversarial", settings)
    assert distiller.update(Batch(some_images()))["critic_accuracy"] >= 0


def test_pairs_of_no_use_are_refused(pair):
    config = dataclasses.replace(CONFIG, knowledge="kd + rkd", pairs=(FLAT,))
    with pytest.raises(DfkdError, match="compares none: add one that does") as refusal:
        build_distiller(*pair, config, 0)
    assert "\n" not in str(refusal.value)
