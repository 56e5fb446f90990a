"""Short runs of every method, and whether their results are the same."""

import copy

import torch

from dfkd.runs.distillation import distill
from support.methods import small


def run(teacher, student, method, **options):
    options = {"steps": 8, "precision": "fp32", "device": "cpu"} | options
    return distill(teacher, copy.deepcopy(student), recipe=small(method), **options)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))
