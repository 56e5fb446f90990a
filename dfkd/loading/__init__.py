"""Teachers and students from MODEL URIs, safely.

teacher = load_teacher("torchvision:mobilenet_v2?weights=mobilenet_v2.pth")
student = load_student("dfkd.networks:resnet?depth=8", teacher)
"""

from dfkd.loading.artefact import save_artefact
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.models import load_model
from dfkd.loading.students import check_student, load_student, load_student_model
from dfkd.loading.teachers import load_teacher
from dfkd.loading.uri import ModelURI, parse_uri
from dfkd.loading.weights import load_weights, read_weights

__all__ = [
    "LoadedModel",
    "ModelURI",
    "check_student",
    "load_model",
    "load_student",
    "load_student_model",
    "load_teacher",
    "load_weights",
    "parse_uri",
    "read_weights",
    "save_artefact",
]
