"""The script that writes two teachers of five digits each, and a student of both."""

import json

import pytest
import torch

from dfkd.cli import main
from dfkd.cli.distill import FAILED
from dfkd.datasets import load_data
from dfkd.loading import load_teacher
from support.commands import ASSETS


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    out = tmp_path_factory.mktemp("halves")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ASSETS))
        import train_halves

        patch.setattr("sys.argv", ["train_halves.py", "--out", str(out), "--epochs", "10"])
        train_halves.main()
    return out


def test_each_knows_its_digits_and_saw_no_test_image(halves, monkeypatch):
    monkeypatch.syspath_prepend(str(ASSETS))
    import train_teachers

    (seen, _), (held_out, labels) = train_teachers.digits_split()
    test = load_data("bundled:digits_vgg")
    assert torch.equal(test.images[:, 0], torch.from_numpy(held_out))
    assert test.labels.tolist() == labels.tolist()
    assert len(seen) == 1000
    for name, digits in (("low", "01234"), ("high", "56789")):
        teacher = load_teacher(f"run:{halves / name}")
        assert teacher.class_names == tuple(digits)
        own = torch.isin(test.labels, torch.tensor([int(digit) for digit in digits]))
        answers = teacher(test.images[own].float() / 255).argmax(1) + int(digits[0])
        assert (answers == test.labels[own]).float().mean() > 0.7


def test_they_are_merged_by_the_command_of_the_script(halves, tmp_path):
    words = ["distill", f"run:{halves / 'low'}", "dfkd.networks:vgg?widths=(8,16)&convolutions=1"]
    words += ["--scheme", "ensemble", "--teachers", f"run:{halves / 'high'}", "--steps", "2"]
    for setting in ("scheme_config.combine=classes", "learner.flip=0", "synthesizer.draws=16"):
        words += ["--set", setting]
    assert main([*words, "--eval", "bundled:digits_vgg", "--out", str(tmp_path / "run")]) in (
        0,
        FAILED,
    )
    figures = json.loads((tmp_path / "run" / "result.json").read_text())
    assert figures["teacher_accuracy"] > 0.5
    assert load_teacher(f"run:{tmp_path / 'run'}").class_names == tuple("0123456789")
