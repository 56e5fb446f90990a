"""Data-free and adversarial knowledge distillation.

    import dfkd
    teacher = dfkd.load_teacher("bundled:fashion_resnet20")
    result = dfkd.distill(teacher, student, minutes=4)

Public names load lazily (PEP 562): ``import dfkd`` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfkd.errors import DfkdError as DfkdError
    from dfkd.objective import Evidence as Evidence
    from dfkd.objective import Objective as Objective
    from dfkd.objective import Term as Term
    from dfkd.spec import ImageSpec as ImageSpec
    from dfkd.teacher import Teacher as Teacher
    from dfkd.teacher import Trace as Trace

__version__ = "0.1.0"

_HOMES = {
    "DfkdError": "dfkd.errors",
    "Evidence": "dfkd.objective",
    "ImageSpec": "dfkd.spec",
    "Objective": "dfkd.objective",
    "Teacher": "dfkd.teacher",
    "Term": "dfkd.objective",
    "Trace": "dfkd.teacher",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dfkd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
