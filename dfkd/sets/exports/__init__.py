"""Written datasets in the forms that other tools read."""

from dfkd.sets.exports.calibration import CalibrationInputs, calibration_loader
from dfkd.sets.exports.table import EXPORTERS, Exporter, export_set

__all__ = [
    "EXPORTERS",
    "CalibrationInputs",
    "Exporter",
    "calibration_loader",
    "export_set",
]
