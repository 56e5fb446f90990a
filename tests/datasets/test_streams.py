"""Images from Python in every form, read in batches and refused in one line."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dfkd.datasets import LabelledImages, as_given_images, as_images
from dfkd.errors import DfkdError
from dfkd.evaluation.accuracy import streamed_accuracy
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 4, 4)
BYTES = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8)
BYTES[0, 0, 0, :2] = torch.tensor([0, 255])  # by chance neither may be there
FLOATS, LABELS = BYTES.float() / 255, torch.arange(40) % 3
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
FORMS = {
    "bytes": (BYTES, LABELS),
    "floats": (FLOATS, LABELS),
    "data set": TensorDataset(FLOATS, LABELS),
    "loader": DataLoader(TensorDataset(FLOATS, LABELS), batch_size=7, shuffle=True),
    "in memory": LabelledImages(BYTES, LABELS, "own"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_one_accuracy(form):
    data = as_images(FORMS[form], SPEC)
    expected = (NETWORK(SPEC.normalize(FLOATS)).argmax(1) == LABELS).float().mean()
    assert streamed_accuracy(NETWORK, SPEC, data) == pytest.approx(expected.item())
    assert (data.shape, len(data), data.highest) == ((1, 4, 4), 40, 2)
    assert len(data.select(torch.arange(0, 40, 9)).labels) == 5


def test_images_to_learn_from_are_bytes_with_or_without_labels():
    assert torch.equal(as_given_images(FLOATS, SPEC).images, BYTES)
    found = as_given_images(FORMS["data set"], SPEC)
    assert torch.equal(found.images, BYTES)
    assert torch.equal(found.labels, LABELS)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((FLOATS * 4 - 2, LABELS), "must lie in .0, 1. and reach from -2 to 2"),
        ((FLOATS * 255, LABELS), "must lie in"),
        ((BYTES.long(), LABELS), "must be uint8 or float"),
        ((FLOATS[:, :, :3], LABELS), "holds 40x1x3x4 images and the model takes N x 1x4x4"),
        ((FLOATS, LABELS - 1), "classes counted from 0"),
        (FLOATS, "takes tensors"),
        (TensorDataset(FLOATS), "must be .images, labels."),
        (DataLoader(TensorDataset(FLOATS * 4 - 2, LABELS)), "must lie in"),
    ],
)
def test_anything_else_is_refused_at_the_first_batch(data, says):
    with pytest.raises(DfkdError, match=says) as refusal:
        as_images(data, SPEC)
    assert "\n" not in str(refusal.value)
