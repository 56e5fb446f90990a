"""Students made for a teacher, and how they come back from a file."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from dfkd.loading import (
    load_model,
    load_student,
    load_student_model,
    load_teacher,
    save_artefact,
)
from dfkd.networks.fingerprint import fingerprint
from support.loading import SMALL, SPEC, small, write_factories


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_factories(tmp_path)


def test_a_student_is_given_what_the_teacher_has() -> None:
    teacher = load_teacher("bundled:digits_vgg")
    loaded = load_student_model("dfkd.networks:resnet?depth=8", teacher)
    assert loaded.keywords == {"depth": 8, "num_classes": 10, "in_channels": 1}
    state = torch.get_rng_state()
    torch.manual_seed(1)
    first = fingerprint(load_student("dfkd.networks:resnet?depth=8", teacher))
    torch.manual_seed(1)
    assert first == fingerprint(load_student("dfkd.networks:resnet?depth=8", teacher))
    torch.set_rng_state(state)


def test_an_artefact_comes_back_as_it_was(folder: Path) -> None:
    run = folder / "run"
    run.mkdir()
    vgg_keywords = {"widths": (4, 8), "convolutions": 1, "in_channels": 1}
    own = load_model(f"{folder}/own.py:make?num_classes=4").network
    for factory, keywords, network in (
        ("dfkd.networks:vgg", vgg_keywords, small()),
        (f"{folder}/own.py:make", {"num_classes": 4}, own),
    ):
        save_artefact(run / "student.safetensors", network, factory, keywords, SPEC, "abcd", note=1)
        loaded = load_model(f"run:{run}", trust=factory.endswith("own.py:make"))
        assert loaded.factory == factory
        assert loaded.keywords == keywords
        assert loaded.spec == SPEC
        assert loaded.class_names == tuple("abcd")
        assert fingerprint(loaded.network) == fingerprint(network)
        # Plain safetensors reads it, and nothing half-written is left.
        plain = load_file(run / "student.safetensors")
        assert plain.keys() == network.state_dict().keys()
        assert [file.name for file in run.iterdir()] == ["student.safetensors"]


def test_weights_of_an_artefact_bring_their_image_facts(tmp_path: Path) -> None:
    save_artefact(tmp_path / "w.safetensors", small(), None, {}, SPEC, tuple("abcdefghij"))
    teacher = load_teacher(f"{SMALL}&weights={tmp_path}/w.safetensors")
    assert teacher.spec == SPEC
    assert teacher.class_names[0] == "a"


def test_shared_weights_can_be_saved(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    save_artefact(tmp_path / "w.safetensors", network, None, {}, SPEC, "ab", seconds=1.5)
    with safe_open(str(tmp_path / "w.safetensors"), "pt") as file:
        assert json.loads(file.metadata()["dfkd"])["seconds"] == 1.5


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_artefact(tmp_path / "w.safetensors", small(), None, {}, SPEC, "ab")
    before = (tmp_path / "w.safetensors").read_bytes()
    with pytest.raises(TypeError):
        save_artefact(tmp_path / "w.safetensors", small(), None, {}, SPEC, "ab", bad=object())
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
