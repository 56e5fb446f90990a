"""What a student's step costs: distillation beside supervised training of the same network."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dfkd.bench.timing import interleave, synchronizer, timing_report
from dfkd.distillation.learner_config import LearnerConfig
from dfkd.protocols import Batch
from dfkd.recipes.schemes import build_distiller
from dfkd.synthesis.bank import ImageBank
from dfkd.teacher import Teacher
from dfkd.training.optimizers import make_optimizer


def bench_distill(
    teacher: Teacher, student: nn.Module, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Time a supervised step, and distillation with cached and with fresh teacher logits."""
    device, spec = teacher.device, teacher.spec
    teacher.to(device)
    student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    bank = ImageBank(16 * batch_size, spec, teacher.num_classes, 0, device)
    images = torch.rand(16 * batch_size, *spec.shape, device=device)
    targets = torch.arange(len(images), device=device) % teacher.num_classes
    bank.add(images, torch.randn(len(images), teacher.num_classes, device=device), targets)
    ready = images[:batch_size].contiguous(memory_format=torch.channels_last)
    config = LearnerConfig()
    plain, labels = copy.deepcopy(student).train(), targets[:batch_size]
    optimizer = make_optimizer(plain, config.optimizer, config.lr, config.weight_decay)
    distillers = [build_distiller(teacher, copy.deepcopy(student), config, 0) for _ in range(2)]
    for distiller in distillers:
        distiller.set_progress(0.5)

    def supervised() -> None:
        loss = F.cross_entropy(plain(spec.normalize(ready)), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def forward() -> None:
        with torch.no_grad():
            teacher(ready)

    variants = {
        "supervised step": supervised,
        "distillation, cached answers": lambda: distillers[0].update(bank.sample(batch_size)),
        "distillation, teacher asked": lambda: distillers[1].update(
            Batch(bank.sample(batch_size).inputs)
        ),
        "teacher's forward pass": forward,
    }
    times = interleave(variants, rounds, synchronizer(device))
    return timing_report("distill", batch_size, spec.shape, device, times)
