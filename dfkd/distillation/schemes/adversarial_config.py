"""Settings of the scheme ``adversarial``: data alone."""

import math
from dataclasses import dataclass, fields

from dfkd.errors import DfkdError, nearest
from dfkd.losses.critic import KINDS, Kind

_FORMS = ("logits", "features", "images")


@dataclass(frozen=True)
class AdversarialConfig:
    """What is judged, and what that weighs. A value out of range is a ``DfkdError``.

    Attributes:
        form: ``logits`` (Xu, Hsu & Huang, 2018): a critic tells the student's outputs from the
            teacher's; their L1 loss is a kind of knowledge: ``--knowledge "kd + l1"``. ``features``
            (MEAL, Shen et al., AAAI 2019): one critic for each pair of layers. ``images``: a
            generator learns from the user's own images (``--images``) to make more of them, a
            critic tells these from those, and the student learns from both.
        loss: ``hinge``, ``bce`` or ``lsgan``, see ``dfkd.losses.critic``.
        weight: of all that the form adds to the knowledge: of fooling the critic and the terms
            beside it, or of the knowledge in generated images; 0 is the scheme ``offline``.
        classes: logits: of the class that the critic's second head reads from the student's answer,
            beside fooling it.
        similarity: features: of the hint loss through the same adapters, beside fooling them.
        critic_lr: of the critic's Adam.
        width: of the critic's hidden layers; of an image critic, channels after its first stage.
        noise: instance noise on what the critic sees, in standard deviations of what is real.
        generator_lr: images: of the generator's Adam.
        latent_dim, ngf: images: see ``generators.decoders.Decoder``.
    """

    form: str = "logits"
    loss: Kind = "hinge"
    weight: float = 0.1
    classes: float = 1.0
    similarity: float = 1.0
    critic_lr: float = 3e-3
    width: int = 64
    noise: float = 0.1
    generator_lr: float = 3e-4
    latent_dim: int = 128
    ngf: int = 32

    def __post_init__(self) -> None:
        for value, names in ((self.form, _FORMS), (self.loss, KINDS)):
            if value not in names:
                raise DfkdError(f"adversarial has no {value!r}{nearest(value, names)}")
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if field.name.endswith("_lr"):
                if not 0 < value < math.inf:
                    raise DfkdError(f"{field.name} must be positive and finite, not {value}")
                continue
            least = 1 if field.type is int else 0
            if not least <= value < math.inf:
                raise DfkdError(f"{field.name} must be at least {least}, not {value}")


def check_images(settings: AdversarialConfig, given: bool) -> None:
    """Raise a ``DfkdError`` where the form learns from the user's images and there are none."""
    if settings.form == "images" and not given:
        raise DfkdError(
            "`scheme=adversarial` with scheme_config.form=images learns from your own images: name "
            "them with `images=DATA`, or take scheme_config.form=logits or features"
        )


def asks_teacher(config: AdversarialConfig) -> str:
    """Return what a form asks a teacher beyond its answers to given images, in words."""
    looks = {"features": "looks into it", "images": "asks it about images made on the way"}
    return f"of form {config.form} {looks[config.form]}" if config.form in looks else ""
