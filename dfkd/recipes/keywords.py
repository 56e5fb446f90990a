"""The keywords of ``dfkd.recipe``, so that an editor completes them.

Each ``TypedDict`` has the fields of a dataclass, and the names are those of the registries: a test
compares them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from dfkd.distillation.learner_config import LearnerConfig
from dfkd.synthesis.selection import SelectionConfig
from dfkd.training.budget import Alternation

Init = Literal["auto", "teacher", "random", "given"]
Trunk = Literal["frozen", "trained"]
SchemeName = Literal[
    "offline", "online", "self", "adversarial", "robust", "ensemble", "cross_modal"
]
MethodName = Literal[
    "redraw", "drawings", "deep_inversion", "adi", "fast", "cmi", "mad", "dafl", "pre", "dfad",
    "dfme", "disguide", "zskt", "dfq", "spaceship", "nayer", "smi", "default",
]  # fmt: skip


class LearnerSettings(TypedDict, total=False):
    """Of ``LearnerConfig``."""

    lr: float
    warmup: float
    optimizer: Literal["muon", "adamw", "sgd"]
    weight_decay: float
    knowledge: str
    pairs: Sequence[str]
    temperature: float
    temperature_end: float | None
    ema: float
    flip: float | None
    careful: bool | None
    patience: int


class AlternationSettings(TypedDict, total=False):
    """Of ``Alternation``."""

    warmup_updates: int | None
    warmup_share: float
    steps_per_update: int
    batch_size: int


class SelectionSettings(TypedDict, total=False):
    """Of ``SelectionConfig``."""

    clean: float
    priority: float
    importance: float


class OnlineSettings(TypedDict, total=False):
    """Of the scheme ``online``."""

    students: int
    peers: Sequence[str]
    kept: Literal["best", "alike"]
    mutual: float
    temperature: float


class SelfSettings(TypedDict, total=False):
    """Of the scheme ``self``."""

    form: Literal["exits", "generations"]
    exits: Literal["drop", "keep"]
    alpha: float
    beta: float
    generations: int
    predecessor: float


class AdversarialSettings(TypedDict, total=False):
    """Of the scheme ``adversarial``."""

    form: Literal["logits", "features", "images"]
    loss: Literal["hinge", "bce", "lsgan"]
    weight: float
    classes: float
    similarity: float
    critic_lr: float
    width: int
    noise: float
    generator_lr: float
    latent_dim: int
    ngf: int


class RobustSettings(TypedDict, total=False):
    """Of the scheme ``robust``."""

    form: Literal["rslad", "ard"]
    epsilon: float
    step_size: float
    steps: int
    weight: float
    temperature: float


class EnsembleSettings(TypedDict, total=False):
    """Of the scheme ``ensemble``."""

    combine: Literal["mean", "weighted", "confidence", "classes"]
    weights: Sequence[float]


class CrossModalSettings(TypedDict, total=False):
    """Of the scheme ``cross_modal``."""

    front_end: Literal["cepstral", "stft"]
    channels: int
    frames: int
    low: float
    high: float
    lifter: float
    n_fft: int
    hop: int
    height: int
    width: int
    darkest: float
    brightest: float


class RecipeSettings(TypedDict, total=False):
    """Of ``Recipe``, but for its method.

    ``synthesizer`` takes what ``dfkd recipes METHOD`` lists. A group of settings may also be given
    whole, as the dataclass that it is.
    """

    learner: LearnerSettings | LearnerConfig
    synthesizer: Mapping[str, Any] | object
    scheme: SchemeName
    scheme_config: (
        OnlineSettings
        | SelfSettings
        | AdversarialSettings
        | RobustSettings
        | EnsembleSettings
        | CrossModalSettings
        | object
    )
    alternation: AlternationSettings | Alternation
    selection: SelectionSettings | SelectionConfig
    init: Init
    trunk: Trunk
    seed: int
