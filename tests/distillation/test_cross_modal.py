"""A teacher of pictures of signals, a student of the signals: front ends, scheme, student."""

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

import dfkd
from dfkd import recipes
from dfkd.cli import main
from dfkd.cli.distill import FAILED
from dfkd.datasets import LabelledImages, load_data
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.distillation.schemes.cross_modal import (
    CrossModalConfig,
    front_end_of,
    put_behind_front_end,
)
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import robust_accuracy
from dfkd.loading import check_student, load_teacher
from dfkd.networks import bilstm, initialise, vgg
from dfkd.networks.frontends import Cepstral, Spectrogram, shaded, stretched
from dfkd.networks.modes import frozen
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.spec import ImageSpec
from dfkd.training.budget import Alternation
from dfkd.training.distributed import Runtime
from support.commands import ASSETS
from support.schemes import check_resume

SMALL = CrossModalConfig(channels=3, frames=6, height=8, width=8, darkest=-9.0, brightest=9.0)
LEARN = LearnerConfig(lr=0.01, warmup=0.0, flip=0.0)
STUDENT = "dfkd.networks:bilstm?hidden=8"


@pytest.fixture
def behind(tiny_teacher):
    tiny_teacher.network.head.weight.data *= 5
    return put_behind_front_end([tiny_teacher], SMALL)


@pytest.fixture(scope="module")
def vowels():
    return load_teacher("bundled:vowels_vgg"), load_data("bundled:vowels_series")


def small_student(seed: int = 1) -> nn.Module:
    return initialise(bilstm(8, 1, 3, 1, 4), seed)


def some_batch(teacher: Teacher, count: int = 32, seed: int = 0) -> Batch:
    signals = torch.rand(count, 1, 3, 6, generator=torch.Generator().manual_seed(seed))
    return Batch(signals, teacher.predict(signals).detached())


# Front ends


@pytest.mark.parametrize("lifter", [0.0, 0.5])
@pytest.mark.parametrize("order", [1, 3])
def test_one_coefficient_is_one_cosine(order, lifter):
    frames = torch.linspace(-1, 1, 5, dtype=torch.float64)
    signal = torch.zeros(1, 1, 4, 5, dtype=torch.float64)
    signal[0, 0, order - 1] = order**lifter * frames
    found = Cepstral(4, 6, 5, -4.0, 6.0, lifter)(signal)
    for row in range(6):
        wave = math.cos(order * math.pi * (row + 0.5) / 6)
        torch.testing.assert_close(
            found[0, 0, row], (2 * frames * wave + 4) / 10, atol=1e-6, rtol=0
        )


def test_pictures_are_those_of_the_script_that_trained_the_teacher(monkeypatch):
    monkeypatch.syspath_prepend(str(ASSETS))
    import train_signals
    import write_series

    cepstrum = np.random.default_rng(0).normal(0, 0.4, (12, 20)) / np.arange(1, 13)[:, None]
    config = CrossModalConfig()
    assert (config.low, config.high) == (write_series.LOW, write_series.HIGH)
    assert config.lifter == write_series.LIFTER
    stored = torch.from_numpy(write_series.series(cepstrum))[None, None].float() / 255
    picture = front_end_of(config)(config.spec.normalize(stored))[0, 0]
    wanted = train_signals.spectrogram(cepstrum).astype(float) / 255
    assert np.abs(picture.numpy() - wanted).max() < 2 / 255
    # Unrounded, and from as many frames as there were: only the picture's own rounding is left.
    lifted = torch.from_numpy(cepstrum * np.sqrt(np.arange(1, 13))[:, None])[None, None]
    exact = front_end_of(config)(lifted)[0, 0]
    assert np.abs(exact.numpy() - wanted).max() < 0.51 / 255


def test_the_bundled_series_are_the_bundled_pictures(vowels):
    teacher, series = vowels
    pictures, config = load_data("bundled:vowels_vgg"), CrossModalConfig()
    assert torch.equal(series.labels, pictures.labels)
    signals = series.images.float() / 255
    shown = front_end_of(config)(config.spec.normalize(signals))
    wanted = pictures.images.float() / 255
    assert (shown - wanted).abs().max() < 2 / 255
    hears = put_behind_front_end([teacher], config)(signals).argmax(1)
    sees = teacher(wanted).argmax(1)
    assert (hears == sees).float().mean() > 0.99
    assert (hears == series.labels).float().mean() > 0.98


@pytest.mark.parametrize("tone", [5, 10, 18, 30])  # bins of 32 + 1; rows are 2 1/7 bins apart
def test_a_pure_tone_is_a_bright_row(tone):
    time = torch.arange(640, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * tone * time / 64)[None, None, None]
    whole = Spectrogram(64, 16, 33, 41, -8.0, 4.0)(wave)[0, 0]
    assert whole.shape == (33, 41)
    assert (whole[:, 4:-4].argmax(0) == tone).all()
    # A Hann window sums to n/2, a sine is half of what turns one way: n/4 at its peak.
    torch.testing.assert_close(whole[tone, 20].item(), (math.log(16) + 8) / 12)
    assert whole[tone - 4, 20] == 0
    coarse = Spectrogram(64, 16, 16, 20, -8.0, 4.0)(wave)[0, 0, :, 3:-3]
    row = tone * 15 / 32
    assert (coarse.argmax(0).sub(row).abs() <= 0.51).all()
    assert coarse.amax(0).min() > 0.5


def test_silence_is_black_and_can_become_loud():
    for darkest in (-7.0, -80.0):
        wave = torch.zeros(2, 1, 1, 64, requires_grad=True)
        picture = Spectrogram(16, 4, 5, 6, darkest, 4.0)(wave)
        assert picture.isfinite().all()
        assert (picture == 0).all() or darkest == -80
        picture.sum().backward()
        assert wave.grad.isfinite().all()
    assert Cepstral(3, 5, 6, -1.0, 1.0)(torch.zeros(1, 1, 3, 6)).eq(0.5).all()


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(2, 1, 3, 5, generator=generator, dtype=torch.float64).requires_grad_()
    assert gradcheck(Cepstral(3, 4, 7, -40.0, 40.0, 0.5), signal)
    wave = torch.randn(2, 1, 1, 24, generator=generator, dtype=torch.float64).requires_grad_()
    assert gradcheck(Spectrogram(8, 4, 4, 5, -40.0, 40.0), wave)


def test_what_is_cut_keeps_its_gradient():
    loud = torch.tensor([-3.0, 0.0, 3.0], requires_grad=True)
    shades = shaded(loud, -1.0, 1.0)
    assert shades.tolist() == [0.0, 0.5, 1.0]
    (shades * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert loud.grad.tolist() == [0.5, 1.0, 1.5]


def test_stretching_keeps_ends_and_loses_nothing_between():
    ramp = torch.linspace(2, 5, 4).expand(1, 1, 3, 4)
    torch.testing.assert_close(stretched(ramp, (3, 7))[0, 0, 1], torch.linspace(2, 5, 7))
    assert stretched(ramp, (3, 4)) is ramp
    for index in range(31):
        point = torch.zeros(1, 1, 31, 1)
        point[0, 0, index] = 1
        few = stretched(point, (6, 1))
        assert abs(int(few.argmax()) - index / 6) <= 0.5
        assert 0.08 < few.max() <= 0.3


# The scheme


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"front_end": "ceptral"}, "did you mean 'cepstral'"),
        ({"channels": 0}, "at least 1"),
        ({"hop": 0, "front_end": "stft"}, "at least 1"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
        ({"darkest": 7.0}, "darkest below brightest"),
        ({"high": math.inf}, "must be finite"),
        ({"lifter": math.nan}, "must be finite"),
        ({"front_end": "stft"}, "channels=1"),
        ({"front_end": "stft", "channels": 1, "frames": 64}, "more samples"),
    ],
)
def test_impossible_settings(settings, what):
    with pytest.raises(DfkdError, match=what) as refusal:
        CrossModalConfig(**settings)
    assert "\n" not in str(refusal.value)


def test_a_teacher_of_other_pictures_or_several_are_refused(tiny_teacher):
    with pytest.raises(DfkdError, match=r"gives 1x16x32 images and the teacher takes 1x8x8: set"):
        put_behind_front_end([tiny_teacher], CrossModalConfig())
    with pytest.raises(DfkdError, match="one teacher, not 2"):
        put_behind_front_end([tiny_teacher, tiny_teacher], SMALL)


def test_its_recipe_survives_a_file():
    plan = recipes.with_scheme(recipes.recipe("default"), "cross_modal")
    plan = recipes.override(plan, ["scheme_config.front_end=stft", "scheme_config.channels=1",
                                   "scheme_config.frames=400"])  # fmt: skip
    assert recipes.from_dict(recipes.to_dict(plan)) == plan
    assert plan.scheme_config.spec.shape == (1, 1, 400)


def test_a_signal_has_its_own_units_behind_zero_and_one():
    spec = replace(SMALL, low=-1.0, high=3.0).spec
    found = spec.normalize(torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3))
    assert found.flatten().tolist() == [-1.0, 0.0, 3.0]


def test_what_the_teacher_remembers_is_found_behind_the_front_end(tiny_teacher, behind):
    assert {f"network.{name}" for name in tiny_teacher.layers} == set(behind.layers)
    assert behind.class_names == tiny_teacher.class_names
    signals = some_batch(behind).inputs
    pictures = front_end_of(SMALL)(behind.spec.normalize(signals))
    wanted = tiny_teacher.trace(pictures, statistics=True)
    folding = fold(behind)
    assert not any(folding.reasons.values())
    for teacher in (behind, folding.teacher):
        trace = teacher.trace(signals, statistics=True)
        torch.testing.assert_close(trace.logits, wanted.logits, atol=1e-4, rtol=1e-4)
        for mine, theirs in zip(trace.statistics, wanted.statistics, strict=True):
            torch.testing.assert_close(mine[1:], theirs[1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("front_end", ["cepstral", "stft"])
@pytest.mark.parametrize("method", ["drawings", "redraw", "nayer"])
def test_any_method_makes_signals(method, front_end, tiny_teacher):
    config, student = SMALL, small_student()
    if front_end == "stft":
        config = replace(SMALL, front_end="stft", channels=1, frames=40, n_fft=8, hop=4)
        student = bilstm(4, 1, 1, 1, 4)
    behind, before = put_behind_front_end([tiny_teacher], config), tiny_teacher.fingerprint()
    small = {
        "drawings": {},
        "redraw": {"draws": 16, "refine_batch": 8, "refine_steps": 2},
        "nayer": {"ngf": 4, "latent_dim": 8, "synthesis_batch_size": 8, "g_steps": 2},
    }[method]
    plan = recipes.with_scheme(recipes.recipe(method), "cross_modal")
    plan = replace(
        plan, scheme_config=config, alternation=Alternation(1, steps_per_update=2, batch_size=16),
        synthesizer=replace(plan.synthesizer, **small), init="random",
    )  # fmt: skip
    result = dfkd.distill(behind, student, recipe=plan, steps=4, device="cpu")
    assert tiny_teacher.fingerprint() == before
    assert all(p.grad is None and not p.requires_grad for p in tiny_teacher.network.parameters())
    assert (result.figures["student_steps"], result.figures["scheme"]) == (4, "cross_modal")
    synthesizer = recipes.build_synthesizer(plan, behind)
    synthesizer.update(student)
    signals = synthesizer.sample(16).inputs
    assert signals.shape == (16, *config.spec.shape)
    assert (signals.min() >= 0) & (signals.max() <= 1)


def test_a_run_resumes_exactly(behind, tmp_path, monkeypatch):
    plan = recipes.with_scheme(recipes.recipe("default"), "cross_modal")
    small = {"draws": 16, "refine_batch": 8, "refine_steps": 2}
    plan = replace(
        plan, scheme_config=SMALL, alternation=Alternation(1, steps_per_update=2, batch_size=16),
        synthesizer=replace(plan.synthesizer, **small), init="random",
    )  # fmt: skip

    def whole(**options):
        options |= {"steps": 8, "device": "cpu", "precision": "fp32"}
        return dfkd.distill(behind, small_student(), recipe=plan, **options)

    check_resume(whole, tmp_path / "run", monkeypatch)


CPU = Runtime(torch.device("cpu"), "fp32", 0, 1)


# The student


def test_the_student_hears_both_directions_and_any_length():
    network = bilstm(5, 2, 3, 2, 4)
    signal = torch.randn(2, 2, 3, 9, generator=torch.Generator().manual_seed(0))
    assert network(signal).shape == network(signal[..., :1]).shape == (2, 4)
    # Sums over a frame, whichever comes first: the other direction's weights swapped.
    plain, swapped = bilstm(5, 1, 3, 2, 4), bilstm(5, 1, 3, 2, 4)
    for name, value in plain.lstm.named_parameters():
        other = name.removesuffix("_reverse") if "_reverse" in name else name + "_reverse"
        swapped.lstm.get_parameter(other).data.copy_(value.data)
    swapped.head.weight.data.copy_(plain.head.weight.data.roll(5, 1))
    swapped.head.bias.data.copy_(plain.head.bias.data)
    torch.testing.assert_close(plain(signal), swapped(signal.flip(3)))
    assert not torch.allclose(plain(signal), plain(signal.flip(3)), atol=1e-4)


def test_the_student_learns_and_resumes_exactly(behind):
    def run(distiller, steps, start=0):
        found = []
        for step in range(start, start + steps):
            distiller.set_progress(step / 80)
            found.append(distiller.update(some_batch(behind, seed=step % 4))["kd"])
        return found

    whole = build_distiller(behind, small_student(), LEARN, 0, "cross_modal", SMALL)
    losses = run(whole, 60)
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    saved = copy.deepcopy(whole.state_dict())
    wanted = run(whole, 3, 60)
    again = build_distiller(behind, small_student(7), LEARN, 5, "cross_modal", SMALL)
    again.load_state_dict(saved)
    assert run(again, 3, 60) == wanted
    signals = behind.spec.normalize(some_batch(behind).inputs)
    assert torch.equal(whole.finished()(signals), again.finished()(signals))


@pytest.mark.parametrize("front_end", ["cepstral", "stft"])
def test_steps_stay_on_their_device_and_read_nothing_back(front_end):
    config = SMALL
    if front_end == "stft":
        config = replace(SMALL, front_end="stft", channels=1, frames=40, n_fft=8, hop=4)
    eyes = Teacher(vgg((4, 8), 1, 1, 4).to("meta"), ImageSpec(1, 8, 8))
    ears = put_behind_front_end([eyes], config)
    student = bilstm(4, 1, config.channels, 1, 4).to("meta")
    distiller = build_distiller(ears, student, LEARN, 0, "cross_modal", config)
    for step in range(2):
        distiller.set_progress(step / 8)
        metrics = distiller.update(Batch(torch.empty(4, *ears.spec.shape, device="meta")))
    assert all(value.device.type == "meta" for value in metrics.values())


def test_narrow_floats_do_or_the_line_names_wider_ones(behind):
    runtime = replace(CPU, precision="bf16")
    distiller = build_distiller(
        behind, small_student(), LEARN, 0, "cross_modal", SMALL, runtime=runtime
    )
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # such a CPU has no LSTM in 16 bits
        with pytest.raises(DfkdError, match="set `precision=fp32`"):
            distiller.update(some_batch(behind))
        return
    metrics = distiller.update(some_batch(behind))
    assert metrics["kd"].isfinite()
    assert metrics["kd"].dtype == torch.float32
    signals = some_batch(behind).inputs
    with runtime.autocast():
        narrow = behind(signals).float()
    assert (narrow.argmax(1) == behind(signals).argmax(1)).float().mean() > 0.9


def test_cudnn_is_left_out_where_it_has_no_backward(behind, monkeypatch):
    student, seen = small_student(), []
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    student.lstm.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    signals = some_batch(behind).inputs.requires_grad_()
    with frozen(student):
        student(signals).sum().backward()
    student(signals)
    with torch.no_grad():
        student.eval()(signals)
    assert seen == [False, True, True]
    assert torch.backends.cudnn.enabled
    assert signals.grad.abs().sum() > 0
    # Under attack, and as a teacher whose answers pixels are optimised for.
    grey = torch.full((2, *behind.spec.shape), 128, dtype=torch.uint8)
    data = LabelledImages(grey, torch.arange(2), "grey")
    del seen[:]
    robust_accuracy(student, behind.spec, data, epsilon=0.1, steps=1)
    assert False in seen
    teacher = Teacher(student, behind.spec)
    del seen[:]
    teacher(signals)
    assert set(seen) == {False}


def test_a_student_of_other_signals_is_refused(behind):
    with pytest.raises(DfkdError, match="1x3x6 images"):
        check_student(bilstm(4, 1, 12, 1, 4), behind)


# The command


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "dfkd", *map(str, words)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_from_the_command_line(tmp_path):
    run = tmp_path / "run"
    quick = [f"--set={s}" for s in ("synthesizer.draws=32", "synthesizer.refine_batch=16",
                                    "alternation.warmup_updates=1", "learner.flip=0")]  # fmt: skip
    done = command(
        "distill", "bundled:vowels_vgg", STUDENT, "--scheme", "cross_modal", "--steps", 4,
        "--init", "random", "--eval", "bundled:vowels_series", "--out", run, *quick,
    )  # fmt: skip
    assert done.returncode in (0, FAILED), done.stderr  # too short to learn
    figures = json.loads((run / "result.json").read_text())
    assert figures["teacher_accuracy"] > 0.98
    again = command("evaluate", f"run:{run}", "--data", "bundled:vowels_series")
    assert again.returncode == 0, again.stderr
    assert f"{100 * figures['student_accuracy']:.2f} %" in again.stdout


def test_images_of_another_size_than_the_front_end_makes_are_one_line(tmp_path, capsys):
    words = ["distill", "bundled:digits_vgg", STUDENT, "--scheme", "cross_modal"]
    assert main([*words, "--out", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err.strip()
    assert "scheme_config.height" in told
    assert len(told.splitlines()) == 1
