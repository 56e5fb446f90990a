"""The losses of images, by what the teacher says of them and what it remembers: a row each."""

from functools import partial

from dfkd.losses import adversarial, prior, response
from dfkd.losses.loss import LOGITS, Loss
from dfkd.losses.statistics import prior_distance, relative_prior_distance

OF_IMAGES: dict[str, Loss] = {
    "onehot": Loss(
        response.supervised,
        ("task", "teacher.prediction", "aims"),
        "the teacher's answer against the target",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "bn": Loss(
        prior_distance,
        ("prior", "teacher.statistics"),
        "distance from the stored statistics, norms not squared",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "bn_kl": Loss(
        relative_prior_distance,
        ("prior", "teacher.statistics"),
        "the same as a divergence, free of the network's scale",
        teaches=False,
    ),
    "adv": Loss(
        adversarial.decision_adversarial,
        LOGITS,
        "-KL where student and teacher decide alike",
        "CMI, Fang et al., 2021",
        teaches=False,
    ),
    "js": Loss(
        adversarial.js_agreement,
        LOGITS,
        "1 - JS of softened answers",
        "Adaptive DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "balance": Loss(
        adversarial.task_balance,
        ("task", "teacher.logits"),
        "classes as frequent in a batch, in nats",
        "DFQ, Choi et al., 2020",
        teaches=False,
    ),
    "balance10": Loss(
        partial(adversarial.task_balance, base=10),
        ("task", "teacher.logits"),
        "the same to the base of 10",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "activation": Loss(
        adversarial.activation,
        ("teacher.embedding",),
        "an excited classifier",
        "DAFL, Chen et al., 2019",
        teaches=False,
    ),
    "tv_l1": Loss(
        prior.total_variation_l1,
        ("normalized",),
        "total variation",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "tv_l2": Loss(
        prior.total_variation_l2,
        ("normalized",),
        "total variation, squared",
        "DeepInversion, Yin et al., 2020",
        teaches=False,
    ),
    "l2": Loss(
        prior.l2_norm, ("normalized",), "length", "DeepInversion, Yin et al., 2020", teaches=False
    ),
}
