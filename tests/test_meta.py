"""Every step of every method on the meta device, which has shapes and no values.

It fails where a tensor is made on another device than its neighbours, and where a step reads
a value back (``.item()``, ``bool(tensor)``, ``nonzero``), which would make a GPU wait.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from dfkd import recipes
from dfkd.distillers.offline import Offline
from dfkd.networks import resnet
from dfkd.spec import ImageSpec
from dfkd.teacher import Teacher

SMALL = {
    "default": ("draws=16", "refine_batch=8", "refine_steps=2"),
    "drawings": (),
    "deep_inversion": ("batch_size=8", "iterations=2", "adi=1.0"),
    "nayer": ("synthesis_batch_size=20", "g_steps=2", "recreate=2"),
}


def test_no_method_is_forgotten():
    assert set(SMALL) == set(recipes.CONFIGS)


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("method", SMALL)
def test_steps_stay_on_their_device_and_read_nothing_back(method, optimizer):
    spec = ImageSpec(1, 16, 16, (0.3,), (0.4,))
    teacher = Teacher(resnet(14, 1, 10).to("meta"), spec)
    settings = [f"synthesizer.{setting}" for setting in SMALL[method]]
    recipe = recipes.override(recipes.recipe(method), settings)
    student = resnet(8, 1, 10).to("meta")
    student.layer1.requires_grad_(False)
    config = replace(recipe.distiller, optimizer=optimizer)
    distiller = Offline(teacher, student, config, 0)
    synthesizer = recipes.build_synthesizer(recipe, teacher, nullcontext)
    for step in range(3):
        metrics = dict(synthesizer.update(student))
        batch = synthesizer.sample(8)
        distiller.set_progress(step / 3)
        metrics |= distiller.update(batch)
        assert all(value.device.type == "meta" for value in metrics.values())
    assert batch.images.device.type == "meta"
