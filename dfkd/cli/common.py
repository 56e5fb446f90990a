"""What several commands need: the teacher that words describe, where and what to print."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console

from dfkd.cli import arguments
from dfkd.cli.flags import as_flags
from dfkd.datasets import GivenImages, LabelledImages
from dfkd.distillation.schemes.ensemble import Ensemble
from dfkd.errors import DfkdError
from dfkd.evaluation.robustness import STEPS
from dfkd.loading import LoadedModel, load_model, load_teacher
from dfkd.loading.uri import WEB_KINDS
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES
from dfkd.report.progress import Progress
from dfkd.runs import run_records
from dfkd.runs.callbacks import Callback
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Compute, Output, batch_size_of
from dfkd.tasks.labels import numbered
from dfkd.tasks.names import check_distinct, read_names
from dfkd.tasks.orders import Lineup
from dfkd.tasks.words import shown, skipped_files
from dfkd.teacher import Teacher


def teacher_of(uri: str, facts: arguments.ImageOptions) -> Teacher:
    """Load the teacher of a MODEL URI; ``facts`` overrule what its source says."""
    return teachers_of([uri], facts)[0]


def with_ledger(
    facts: arguments.ImageOptions, uris: Sequence[str], out: Path
) -> arguments.ImageOptions:
    """Put the ledger of a run beside its directory, where answers are counted and none is named.

    Beside: ``--overwrite`` replaces a run, and not what was paid for.
    """
    counted = facts.access is not None or any(u.partition(":")[0] in WEB_KINDS for u in uris)
    if facts.ledger is not None or not counted:
        return facts
    beside = Path(f"{out}.queries")
    beside.parent.mkdir(parents=True, exist_ok=True)
    return replace(facts, ledger=beside)


def teachers_of(uris: Sequence[str], facts: arguments.ImageOptions) -> list[Teacher]:
    """Load the teachers of MODEL URIs; ``facts`` overrule what the source of the first says.

    A further one, which often knows its own, takes those of images where its source has none.

    Raises:
        DfkdError: more files of class names than models, one that cannot be read, or two classes
            of one name.
    """
    names = [read_names(path) for path in facts.class_names]
    if len(names) > len(uris):
        raise DfkdError(f"--class-names wants one file a model: {len(names)} for {len(uris)}")
    given = (facts.image, facts.mean, facts.std) != (None, None, None)
    found: list[Teacher] = []
    for uri, own in zip_longest(uris, names):
        said = arguments.UNSAID if found and given and load_model(uri).spec else facts
        load = partial(
            load_teacher,
            uri,
            image=said.image,
            mean=said.mean,
            std=said.std,
            class_names=own,
            prior=facts.prior,
            access=facts.access,
            queries=facts.queries,
            ledger=facts.ledger,
            task=facts.task,
        )
        found.append(_of_classes(load, facts.only_classes, found))
        check_distinct(found[-1].class_names, uri)
    return found


def _of_classes(
    load: Callable[..., Teacher], only: str | None, before: Sequence[Teacher]
) -> Teacher:
    """Load a teacher of the classes asked for; a model that knows just those is taken whole."""
    if only is not None and before:
        whole = load()
        if set(whole.class_names) == set(before[0].class_names):
            return whole
    return load(only_classes=only)


def check_teachers(recipe: Recipe, extra: Sequence[str]) -> None:
    """Raise unless there are extra teachers where, and only where, the scheme has several."""
    if recipe.several_teachers and not extra:
        raise DfkdError(
            f"--scheme {recipe.scheme} wants more than one teacher: name them after --teachers"
        )
    if extra and not recipe.several_teachers:
        raise DfkdError("--teachers belongs to --scheme ensemble")


def load_wrapped_teacher(
    uri: str, extra: Sequence[str], facts: arguments.ImageOptions, recipe: Recipe
) -> Teacher:
    """Load the teacher as the student will see it: several as one, or behind a front end."""
    teachers = teachers_of([uri, *extra], facts)
    teacher = SCHEMES[recipe.scheme].wrap_teacher(teachers, recipe.scheme_config)
    teacher.notes = tuple(dict.fromkeys(note for one in teachers for note in one.notes))
    if teacher.class_names == teachers[0].class_names:
        teacher.subset = teachers[0].subset
    if isinstance(teacher.network, Ensemble) and teacher.network.lineup:
        tell_orders([uri, *extra], teachers, teacher.network.lineup)
    return teacher


def origin_of(teacher: str, student: str, loaded: LoadedModel, extra: Sequence[str] = ()) -> Origin:
    """Return where a run's networks came from, and the command that is being run."""
    command = run_records.command_line()
    return Origin(
        teacher, student, loaded.factory, loaded.keywords, command, tuple(extra), loaded.notes
    )


def tell_notes(teacher: Teacher) -> None:
    """Print what was decided in loading a teacher, a line each."""
    for note in teacher.notes:
        print(as_flags(note))


def compute_of(command: Any) -> Compute:
    """Collect how a run computes from those of the options that its command has."""
    names = ("device", "precision", "devices", "compile", "recompute")
    given = {name: getattr(command, name) for name in names if hasattr(command, name)}
    return Compute(batch_size=batch_size_of(getattr(command, "batch_size", None)), **given)


def output_of(command: Any) -> Output:
    """Collect what a command's run leaves behind."""
    return Output(command.out, command.overwrite, command.resume, command.checkpoint_every)


class Shown(Callback):
    """Prints what was decided, and how far the run is.

    Args:
        progress: the display.
        begin: prints the facts that are known before the first step.
    """

    def __init__(
        self, progress: Progress, begin: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> None:
        self._progress, self._begin = progress, begin

    def on_start(self, facts: Mapping[str, Any]) -> None:
        """Print them."""
        self._begin(facts)

    def on_log(
        self,
        progress: float,
        step: int,
        metrics: Mapping[str, float],
        class_counts: Sequence[int],
    ) -> None:
        """Show them."""
        self._progress.update(progress, step, metrics, class_counts)


def console() -> Console:
    """Standard output, as plain as its receiver wants it."""
    return Console(highlight=False)


def tell_compiled(decision: Mapping[str, Any]) -> None:
    """Print whether the teacher's pass was compiled, and why (not)."""
    print(f"teacher {'compiled' if decision['used'] else 'not compiled'}: {decision['reason']}")


def tell_attack(images: int, epsilon: float) -> str:
    """Return a line on how the column PGD-20 was measured."""
    return f"PGD-{STEPS}: {images:,} images, epsilon {epsilon:.3g}"


def tell_orders(uris: Sequence[str], models: Sequence[Teacher], lineup: Lineup) -> None:
    """Print which models have their classes in another order, and whose order is assumed."""
    first = shown(uris[0], 60)
    for uri, model, own in zip(uris, models, lineup.columns, strict=True):
        label = shown(uri, 60)
        if own is not None:
            place = next(i for i, column in enumerate(own) if i != column)
            print(
                f"{label}: its classes are in another order than those of {first}, and are taken "
                f"by name ({shown(lineup.names[place])!r} is output {place} there, {own[place]} "
                "here)"
            )
        elif numbered(model.class_names) and not numbered(lineup.names):
            print(f"{label}: its classes have no names, and are taken in the order of the others")


_HOW = {
    "name": "by name",
    "spelling": "by name, however spelt",
    "number": "by number",
    "directory": "by index and name",
    "synset": "by ImageNet's synsets",
    "file name": "by the class in their names",
}


def tell_data(data: LabelledImages | GivenImages) -> None:
    """Print how many images were read, their classes, how these are known, and what was skipped."""
    reading = data.reading
    told = f"{shown(data.name, 80)}: {len(data):,} images"
    if data.labels is None:
        told += " without labels"
    else:
        several = data.labels.ndim == 2
        count = data.labels.shape[1] if several else len(data.labels.unique())
        kind = "labels, each 0 or 1" if several else f"classes {_HOW[reading.how]}"
        told += f" of {count:,} {kind}"
    if reading.how in ("spelling", "synset"):
        few = (f"{shown(c.directory)} = {shown(c.name)}" for c in reading.classes[:3])
        told += f" ({', '.join(few)}{', …' * (len(reading.classes) > 3)})"
    if reading.left_out:
        told += f" ({reading.left_out:,} of other classes left out)"
    told += skipped_files(reading.skipped)
    foreign = ["foreign data"] if isinstance(data, GivenImages) and data.foreign else []
    print("; ".join([told, *foreign, *reading.notes]))
