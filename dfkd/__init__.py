"""Data-free and adversarial knowledge distillation.

    import dfkd
    teacher = dfkd.load_teacher("bundled:fashion_resnet20")
    result = dfkd.distill(teacher, student, minutes=4)

Public names load lazily (PEP 562): ``import dfkd`` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfkd.comparison.compare import compare as compare
    from dfkd.comparison.result import Comparison as Comparison
    from dfkd.datasets import load_data as load_data
    from dfkd.datasets.written import WrittenSet as WrittenSet
    from dfkd.distillation.schemes.ensemble import ensemble as ensemble
    from dfkd.errors import DfkdError as DfkdError
    from dfkd.evaluation.evaluate import EvaluationRow as EvaluationRow
    from dfkd.evaluation.evaluate import evaluate as evaluate
    from dfkd.loading import load_student as load_student
    from dfkd.loading import load_teacher as load_teacher
    from dfkd.losses.objective import Objective as Objective
    from dfkd.losses.objective import Term as Term
    from dfkd.recipes import Recipe as Recipe
    from dfkd.recipes import recipe as recipe
    from dfkd.recipes.catalogue import list_losses as list_losses
    from dfkd.recipes.catalogue import list_methods as list_methods
    from dfkd.recipes.catalogue import list_schemes as list_schemes
    from dfkd.recipes.probe import probe as probe
    from dfkd.runs.callbacks import Callback as Callback
    from dfkd.runs.distillation import Result as Result
    from dfkd.runs.distillation import distill as distill
    from dfkd.runs.doctor import diagnose as diagnose
    from dfkd.runs.export_statistics import export_statistics as export_statistics
    from dfkd.runs.inversion import invert as invert
    from dfkd.runs.options import Compute as Compute
    from dfkd.runs.options import Evaluation as Evaluation
    from dfkd.runs.options import Output as Output
    from dfkd.runs.plan import plan as plan
    from dfkd.runs.run import Run as Run
    from dfkd.runs.visualization import visualize as visualize
    from dfkd.sets.synthesize import synthesize as synthesize
    from dfkd.synthesis.bank import ImageBank as ImageBank
    from dfkd.teacher import Teacher as Teacher
    from dfkd.teacher import Trace as Trace
    from dfkd.teacher.outputs import PairOutputs as PairOutputs
    from dfkd.teacher.spec import ImageSpec as ImageSpec

__version__ = "0.1.0"

_HOMES = {
    "Callback": "dfkd.runs.callbacks",
    "Comparison": "dfkd.comparison.result",
    "Compute": "dfkd.runs.options",
    "DfkdError": "dfkd.errors",
    "Evaluation": "dfkd.runs.options",
    "EvaluationRow": "dfkd.evaluation.evaluate",
    "ImageBank": "dfkd.synthesis.bank",
    "ImageSpec": "dfkd.teacher.spec",
    "Objective": "dfkd.losses.objective",
    "Output": "dfkd.runs.options",
    "PairOutputs": "dfkd.teacher.outputs",
    "Recipe": "dfkd.recipes",
    "Result": "dfkd.runs.distillation",
    "Run": "dfkd.runs.run",
    "Teacher": "dfkd.teacher",
    "Term": "dfkd.losses.objective",
    "Trace": "dfkd.teacher",
    "WrittenSet": "dfkd.datasets.written",
    "compare": "dfkd.comparison.compare",
    "diagnose": "dfkd.runs.doctor",
    "distill": "dfkd.runs.distillation",
    "ensemble": "dfkd.distillation.schemes.ensemble",
    "evaluate": "dfkd.evaluation.evaluate",
    "export_statistics": "dfkd.runs.export_statistics",
    "invert": "dfkd.runs.inversion",
    "list_losses": "dfkd.recipes.catalogue",
    "list_methods": "dfkd.recipes.catalogue",
    "list_schemes": "dfkd.recipes.catalogue",
    "load_data": "dfkd.datasets",
    "load_student": "dfkd.loading",
    "load_teacher": "dfkd.loading",
    "plan": "dfkd.runs.plan",
    "probe": "dfkd.recipes.probe",
    "recipe": "dfkd.recipes",
    "synthesize": "dfkd.sets.synthesize",
    "visualize": "dfkd.runs.visualization",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dfkd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
