"""What a teacher is asked about: floats in [0, 1], told apart from bytes; and how files are cut."""

import pytest
import torch

from dfkd.errors import DfkdError
from dfkd.loading import load_model, load_teacher
from dfkd.loading.artefact import read_artefact, save_artefact
from dfkd.teacher.spec import ImageSpec, facts_of, spec_from_dict
from support.methods import make_teacher


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_only_floats_are_images(dtype: torch.dtype) -> None:
    teacher, images = make_teacher(), torch.ones(2, 1, 8, 8).to(dtype)
    for asked in (teacher, teacher.predict, teacher.trace):
        with pytest.raises(DfkdError, match=r"not torch\.\w+: images.float.. / 255"):
            asked(images)


def test_bytes_as_floats_are_told_once_and_made_images_never() -> None:
    with pytest.raises(DfkdError, match=r"reach from 0 to 255: divide them by 255"):
        make_teacher()(torch.linspace(0, 255, 128).reshape(2, 1, 8, 8))
    made = torch.linspace(-3, 4, 128).reshape(2, 1, 8, 8)
    assert make_teacher()(made).isfinite().all()


def test_how_files_are_cut_is_kept_beside_what_a_network_is(tmp_path) -> None:
    spec = load_model("torchvision:resnet18").spec
    assert spec is not None
    assert spec.crop == 224 / 256
    assert load_teacher("torchvision:resnet18?num_classes=3", image="3x32x32").spec.crop == 1
    assert spec == ImageSpec(3, 224, 224, spec.mean, spec.std)
    assert "crop" not in facts_of(spec)
    network = make_teacher(3).network
    for one in (spec, ImageSpec(3, 8, 8)):
        save_artefact(tmp_path / "a.safetensors", network, None, {}, one, ["a"] * 4)
        found = read_artefact(tmp_path / "a.safetensors")
        assert found is not None
        assert found.spec is not None
        assert (found.spec, found.spec.crop) == (one, one.crop)
    assert spec_from_dict({"channels": 1, "height": 2, "width": 3, "later": 4}).width == 3
