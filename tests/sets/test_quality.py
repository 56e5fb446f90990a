"""The figures of a set: what needs a network, what needs real images, what is circular."""

import json
from dataclasses import replace

import pytest
import torch

import dfkd
from dfkd.cli import main
from dfkd.datasets import evenly, load_data
from dfkd.datasets.images import LabelledImages
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.networks import initialise, vgg
from dfkd.sets.quality import measure_quality
from dfkd.teacher import Teacher
from dfkd.teacher.spec import ImageSpec
from support.written import noise, write_set

URI = "bundled:digits_vgg"


@pytest.fixture(scope="module")
def teacher():
    return dfkd.load_teacher(URI)


@pytest.fixture(scope="module")
def real():
    found = load_data(URI)
    return found.select(evenly(len(found), 200))


@pytest.fixture(scope="module")
def copied(tmp_path_factory, teacher, real):
    """A set that consists of real images."""
    return write_set(tmp_path_factory.mktemp("copied"), teacher, real.images, real.labels)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory, teacher):
    images, labels = noise(60, 1, 8, 8), torch.arange(60) % 10
    return write_set(tmp_path_factory.mktemp("noise"), teacher, images, labels)


def test_without_networks_the_set_speaks_for_itself(noisy, teacher):
    found = measure_quality(noisy)
    data = WrittenSet(noisy)
    logits, labels = data.column("logits").double(), data.column("labels")
    own = logits.softmax(1).gather(1, labels[:, None])
    assert (found.images, found.classes) == (60, 10)
    assert found.agreement == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert found.confidence == pytest.approx(float(own.mean()))
    assert found.networks == ()
    assert found.colour_noise is None
    assert found.notes() == []


def test_real_images_are_at_no_distance_from_themselves(copied, teacher, real):
    (one,) = measure_quality(copied, teacher=teacher, real=real).networks
    distances = one.real.distances
    assert distances.frechet == pytest.approx(0, abs=1e-6)
    assert (distances.overlap.precision, distances.overlap.recall) == (1, 1)
    assert distances.kernel.mean < 0  # unbiased: below what two samples would have
    assert one.real.diversity.vendi == pytest.approx(one.diversity.vendi)
    assert one.real.floor is None  # no real image is left to hold the others against
    with torch.no_grad():
        logits = teacher(real.images.float() / 255)
    assert one.top1 == pytest.approx(float((logits.argmax(1) == real.labels).double().mean()))


def test_noise_is_farther_from_real_images_than_chance(noisy, teacher, real):
    (one,) = measure_quality(noisy, teacher=teacher, real=real).networks
    assert one.real.distances.frechet > 5 * one.real.floor.frechet
    assert one.real.distances.kernel.mean > 10 * abs(one.real.floor.kernel.mean)
    assert one.real.distances.overlap.precision < one.real.floor.overlap.precision
    assert one.real.diversity.images == one.diversity.images == (6, 6)


def test_the_maker_s_figures_are_circular_and_another_network_s_are_not(noisy, teacher, real):
    judge = Teacher(initialise(vgg((8, 16), 1, 1, 10), seed=0), teacher.spec)
    found = measure_quality(noisy, teacher=teacher, judge=judge, real=real)
    assert [(one.role, one.circular) for one in found.networks] == [
        ("teacher", True), ("judge", False),
    ]  # fmt: skip
    told = [line for line in found.notes() if "circular" in line]
    assert len(told) == 1
    assert "teacher" in told[0]
    # The teacher itself is no independent judge, whatever it is called.
    (one,) = measure_quality(noisy, judge=dfkd.load_teacher(URI)).networks
    assert (one.role, one.circular) == ("judge", True)
    plain = json.loads(json.dumps(found.as_dict()))
    assert plain["networks"][0]["real"]["distances"]["overlap"]["images"] == 60
    assert plain["notes"] == found.notes()


def test_a_judge_s_classes_go_by_name(tmp_path, real):
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    known = dfkd.load_teacher(URI)
    teacher = Teacher(known.network, known.spec, names)
    path = write_set(tmp_path, teacher, real.images, real.labels)

    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    moved = dfkd.load_teacher(URI).network
    head = [module for module in moved.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order])
        head.bias.copy_(head.bias[order])
    judge = Teacher(moved, known.spec, [names[i].upper() for i in order])
    by_teacher, by_judge = measure_quality(path, teacher=teacher, judge=judge).networks
    assert by_judge.top1 == by_teacher.top1 > 0.9
    assert by_judge.top5 == by_teacher.top5 >= by_teacher.top1
    assert by_judge.confidence == pytest.approx(by_teacher.confidence)
    stranger = Teacher(moved, known.spec, [*"abcdefghij"])
    with pytest.raises(DfkdError, match="class 'zero' of the set is none of a stranger"):
        measure_quality(path, judge=stranger, names=("", "a stranger"))


def test_colour_noise_is_of_all_images_however_they_are_cut(tmp_path):
    torch.manual_seed(0)
    teacher = Teacher(initialise(vgg((8,), 1, 3, 4), seed=0), ImageSpec(3, 16, 16))
    plain = torch.full((5, 3, 16, 16), 90, dtype=torch.uint8)
    path = write_set(
        tmp_path, teacher, torch.cat([plain, noise(3, 3, 16, 16)]), torch.arange(8) % 4
    )
    found = measure_quality(
        path, teacher=teacher, real=LabelledImages(plain, torch.arange(5) % 4, "r")
    )
    assert found.colour_noise == pytest.approx(3 / 8)
    assert found.real_colour_noise == 0
    assert found.networks[0].top5 is None  # of four classes


def test_what_does_not_fit_is_refused(noisy, teacher, real, tmp_path):
    with pytest.raises(DfkdError, match="add `teacher` or `judge`"):
        measure_quality(noisy, real=real)
    with pytest.raises(DfkdError, match="takes 1x28x28 images and the set has 1x8x8"):
        measure_quality(noisy, judge=dfkd.load_teacher("bundled:fashion_resnet20"))
    small = replace(real, images=real.images[:, :, :4, :4])
    with pytest.raises(DfkdError, match="holds 1x4x4 images"):
        measure_quality(noisy, teacher=teacher, real=small)
    with pytest.raises(DfkdError, match="two images or more"):
        measure_quality(noisy, teacher=teacher, real=real.select(torch.tensor([0])))
    with pytest.raises(DfkdError, match="no synthetic dataset"):
        measure_quality(tmp_path)


def test_few_images_have_no_precision(tmp_path, teacher, real):
    path = write_set(tmp_path, teacher, real.images[:3], real.labels[:3], shards=1)
    found = measure_quality(path, teacher=teacher, real=real)
    assert found.networks[0].real.distances.overlap is None
    assert any("more than 3 images" in line for line in found.notes())


def test_the_command_prints_a_table_and_writes_json_where_asked(noisy, tmp_path, capsys):
    before = {path: path.read_bytes() for path in noisy.rglob("*") if path.is_file()}
    words = ["dataset", "quality", str(noisy)]
    assert main(words) == 0
    assert "add --teacher or --judge" in capsys.readouterr().out
    file = tmp_path / "figures.json"
    assert main([*words, "--teacher", URI, "--real", URI, "--json", str(file)]) == 0
    told = capsys.readouterr().out
    assert "teacher, circular" in told
    assert "optimised against this very network" in told
    assert json.loads(file.read_text())["images"] == 60
    for place, message in ((noisy / "manifest.json", "lies in the set"), (tmp_path, "cannot be")):
        assert main([*words, "--json", str(place)]) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in noisy.rglob("*") if path.is_file()} == before
