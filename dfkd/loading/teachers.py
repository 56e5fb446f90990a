"""A MODEL URI -> a frozen teacher, here or behind an API."""

from collections.abc import Sequence
from pathlib import Path

from dfkd.access.opening import open_local, open_web
from dfkd.errors import DfkdError
from dfkd.loading.loaded import LoadedModel
from dfkd.loading.models import load_model
from dfkd.loading.only_classes import keep_classes
from dfkd.loading.timm_models import size_hint
from dfkd.loading.uri import WEB_KINDS, ModelURI, parse_uri
from dfkd.networks.layers import unwrap
from dfkd.tasks.words import shown
from dfkd.teacher import Teacher
from dfkd.teacher.folding import fold
from dfkd.teacher.priors import Prior, named_prior
from dfkd.teacher.spec import ImageSpec, parse_shape

_UNNORMALISED = (
    "{} does not say by what its images are normalised: they are shown as they are, in [0, 1], "
    "unless you set `mean` and `std`"
)


def load_teacher(
    uri: str,
    *,
    image: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    only_classes: str | Sequence[int | str] | None = None,
    prior: str | None = None,
    task: str | None = None,
    trust: bool = False,
    access: str | None = None,
    queries: int | None = None,
    ledger: Path | str | None = None,
) -> Teacher:
    """Load the teacher that ``uri`` names, frozen.

    Args:
        uri: a MODEL URI.
        image: ``"CxHxW"``; left out, the source's.
        mean: one number a channel, in units of [0, 1] intensity; left out, the source's.
        std: one positive number a channel; left out, the source's.
        class_names: one a class; left out, the source's.
        only_classes: of the model's classes those that the teacher is to know, by name or index,
            such as ``"3,17,42"``; left out, all.
        prior: what images are compared with: NAME or NAME:ARGUMENT, a name of
            ``dfkd.teacher.priors.PRIORS``; left out, its batch-norms' statistics, if any.
        task: what its output means, ``classification`` or ``multilabel`` (labels that are on or off
            each by itself); left out, the source's, else classification.
        trust: see ``load_model``.
        access: ``logits``, ``probs`` or ``top1``: no more than that is seen of its answers. One at
            ``http://HOST:PORT`` shows what it shows.
        queries: images that a run may ask about where only answers are seen; left out, any number.
        ledger: file that keeps answers and account, so that nothing is paid twice; left out, in
            memory.

    Raises:
        DfkdError: see ``load_model``, ``Teacher`` and ``choose_classes``; image facts that nobody
            gives; nobody who answers at ``http://HOST:PORT``.
    """
    parsed = parse_uri(uri)
    _check_seen(parsed, prior, access, counted=(queries, ledger) != (None, None))
    if parsed.kind in WEB_KINDS:
        if parsed.weights is not None:
            raise DfkdError(f"{parsed.base[:80]} has its weights: leave `weights` out")
        return open_web(
            parsed.base, parsed.keywords, access=access, queries=queries, ledger=ledger,
            image=image, mean=mean, std=std, class_names=class_names, only_classes=only_classes,
            task=task,
        )  # fmt: skip
    loaded = load_model(uri, trust=trust)
    spec = _image_spec(uri, loaded.spec, image, mean, std)
    # Loaded first: what is wrong with it is said before the teacher is touched.
    remembered = named_prior(prior, unwrap(loaded.network), spec, _folded) if prior else None
    teacher = _built(parsed, loaded, spec, class_names, task, remembered)
    teacher.source = loaded.factory, loaded.keywords
    teacher.notes = loaded.notes
    if not loaded.normalised and mean is None and std is None:
        teacher.notes += (_UNNORMALISED.format(uri.partition("?")[0]),)
    known = loaded.class_names
    # A source's names are of its published classes; a network with others keeps numbers.
    if class_names is None and known is not None and len(known) == teacher.num_classes:
        teacher.task.names = known  # whoever takes classes by name checks them
    if only_classes is not None:
        teacher = keep_classes(teacher, only_classes, remembered)
    return teacher if access is None else open_local(teacher, access, queries, ledger)


def _check_seen(uri: ModelURI, prior: str | None, access: str | None, counted: bool) -> None:
    """Raise for what goes with answers alone where more is seen, and the other way round."""
    behind = uri.kind in WEB_KINDS
    if prior is not None and (access is not None or behind):
        raise DfkdError(
            f"`prior={shown(prior, 40)}` follows gradients or layers to images, and of a teacher "
            "whose answers alone are seen there are none: leave `prior` out"
        )
    if counted and access is None and not behind:
        raise DfkdError(
            "`queries` and `ledger` count answers: say which are seen by `access=probs`"
        )


def _built(
    uri: ModelURI,
    loaded: LoadedModel,
    spec: ImageSpec,
    class_names: Sequence[str] | None,
    task: str | None,
    prior: Prior | None,
) -> Teacher:
    """The teacher of a loaded network; where it fails for its image size, what to do about it."""
    try:
        return Teacher(loaded.network, spec, class_names, task=task or loaded.task, prior=prior)
    except DfkdError as error:
        other = loaded.spec is not None and spec.shape[1:] != loaded.spec.shape[1:]
        hint = size_hint(uri, spec.shape[1:]) if other else ""
        raise DfkdError(f"{str(error).partition(';')[0]}; {hint}") if hint else error from None


def _folded(uri: str) -> Teacher:
    """A prior's network, as fast as it can be."""
    return fold(load_teacher(uri)).teacher


def _image_spec(
    uri: str,
    known: ImageSpec | None,
    image: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> ImageSpec:
    """What is given, else what the source says; 0 and 1 where mean and std are nowhere."""
    if image is not None:
        shape = parse_shape(image)
    elif known is not None:
        shape = known.shape
    else:
        raise DfkdError(
            f"{uri.partition('?')[0]} does not say what images it takes; give `image=CxHxW` "
            "(such as 3x32x32), and `mean` and `std` where it wants normalised images"
        )
    source = known if known is not None and known.channels == shape[0] else ImageSpec(*shape)
    return ImageSpec(
        *shape,
        source.mean if mean is None else tuple(mean),
        source.std if std is None else tuple(std),
        source.crop if known is not None and known.shape == shape else 1.0,
    )
