"""The losses of the two networks' answers: a row each."""

from functools import partial

from dfkd.losses import binary, correlation, response
from dfkd.losses.loss import LOGITS, Loss

ROWS = {"weight": "teacher.weight"}
SOFTENED = {"temperature": "temperature", **ROWS}

OF_ANSWERS: dict[str, Loss] = {
    "kd": Loss(
        response.kl_divergence,
        LOGITS,
        "KL of softened answers, times T^2",
        "Hinton et al., 2015",
        keywords=SOFTENED,
    ),
    "kd_mean": Loss(
        partial(response.kl_divergence, reduction="mean"),
        LOGITS,
        "the same, divided by images x classes",
        "as ZSKT, Micaelli & Storkey, 2019",
        10,
        SOFTENED,
    ),
    "hard": Loss(
        response.cross_entropy,
        ("student.logits", "labels"),
        "cross-entropy with an image's own class, else the teacher's",
        "Hinton et al., 2015",
        0.1,
        ROWS,
    ),
    "l1": Loss(
        response.l1_logits,
        LOGITS,
        "mean |s - t| of the logits",
        "DFAD, Fang et al., 2019",
        keywords=ROWS,
    ),
    "mse": Loss(
        response.mse_logits,
        LOGITS,
        "mean (s - t)^2 of the logits",
        "Ba & Caruana, 2014",
        0.1,
        ROWS,
    ),
    "dkd": Loss(
        response.decoupled,
        (*LOGITS, "labels"),
        "target and other classes apart, 1 to 8",
        "DKD, Zhao et al., 2022",
        keywords=SOFTENED,
    ),
    "dist": Loss(
        correlation.correlations,
        LOGITS,
        "1 - correlation of the answers to a sample, and of those of a class; times T^2",
        "DIST, Huang et al., 2022",
        0.03,
        keywords=SOFTENED,
        relation=True,
    ),
    "sigmoid_kd": Loss(
        binary.binary_divergence,
        LOGITS,
        "KL of softened sigmoids, label by label, times T^2",
        "MLD, Yang et al., 2023",
        keywords=SOFTENED,
    ),
}
