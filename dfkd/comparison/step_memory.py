"""What a student's step takes in memory."""

import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.networks.copying import copy_network
from dfkd.protocols import Batch
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import build_distiller
from dfkd.teacher import Teacher
from dfkd.teacher.recompute import PeakMemory

BATCH = 32


def step_bytes(teacher: Teacher, student: nn.Module, plan: Recipe) -> int | None:
    """Measure the bytes that a step of ``plan``'s scheme makes beyond those before it, at its peak.

    Of ``BATCH`` images in float32, on a copy of ``student``, after a first step that makes the
    optimiser's state. None where the scheme refuses the two networks.
    """
    if teacher.opaque:  # an answer costs something
        return None
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((BATCH, *teacher.spec.shape), generator=generator).to(teacher.device)
    with torch.no_grad():
        prediction = teacher.predict(images)
    batch = Batch(images, prediction, teacher.task.decide(prediction))
    trained = copy_network(student)
    trained.to(teacher.device)
    with torch.random.fork_rng(devices=[]):  # dropout and re-drawn weights are the run's, not ours
        try:
            distiller = build_distiller(
                teacher, trained, plan.learner, plan.seed, plan.scheme, plan.scheme_config
            )
            distiller.set_progress(0.5)
            distiller.update(batch)
            with PeakMemory() as memory:
                distiller.update(batch)
        except DfkdError:
            return None
    return int(memory.peak)
