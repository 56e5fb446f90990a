"""What the runs of a comparison share, and the record that their figures go into."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from dfkd.comparison import tally
from dfkd.comparison.step_memory import step_bytes
from dfkd.comparison.tally import RunKey
from dfkd.datasets import GivenImages, check_fits
from dfkd.errors import DfkdError
from dfkd.networks import count_parameters
from dfkd.recipes import Recipe
from dfkd.recipes.schemes import SCHEMES
from dfkd.runs import manifest, run_directory, run_entries, run_records
from dfkd.runs.callbacks import Callback
from dfkd.runs.manifest import Origin
from dfkd.runs.options import Compute, Evaluation, Output
from dfkd.teacher import Teacher
from dfkd.training import devices

FILE = "comparison.json"


class DrawnStudent(NamedTuple):
    """A student before its run: where it starts (``init``), and where the networks came from."""

    network: nn.Module
    init: str
    origin: Origin


@dataclass(frozen=True)
class Setup:
    """All that the runs of a comparison share.

    Attributes:
        recipes: by variant, in the order of the rows.
        seeds: one run a variant and seed.
        teachers: by variant, the one that its student sees.
        draw: makes the student of a variant and seed, anew with each call.
        minutes: wall time of each run, or None.
        steps: student steps of each run, or None.
        evaluation: what all rows are measured on; its data must be there.
        images: to learn from, in place of a method's; None where there are none.
        compute: how every run computes.
        output: directory of the comparison; each run has its own in it.
        watch: gives the callbacks of a run, for as long as the run takes.
        phrase: turns what refuses a run into what its row says.
    """

    recipes: Mapping[str, Recipe]
    seeds: Sequence[int]
    teachers: Mapping[str, Teacher]
    draw: Callable[[str, int], DrawnStudent]
    minutes: float | None
    steps: int | None
    evaluation: Evaluation
    images: GivenImages | None
    compute: Compute
    output: Output
    watch: Callable[[RunKey], AbstractContextManager[Sequence[Callback]]]
    phrase: Callable[[str], str]

    @property
    def runs(self) -> list[RunKey]:
        """Every run, in their order."""
        return tally.runs(self.recipes, self.seeds)


def wrap_teachers(recipes: Mapping[str, Recipe], teachers: Sequence[Teacher]) -> dict[str, Teacher]:
    """Return by variant the teacher that its student sees: the first, or all of them as one."""
    return {
        name: SCHEMES[plan.scheme].wrap_teacher(
            [*teachers] if plan.several_teachers else [teachers[0]], plan.scheme_config
        )
        for name, plan in recipes.items()
    }


def find_epsilon(epsilon: float | None, recipes: Mapping[str, Recipe]) -> float | None:
    """Return that of the attack on every row: what was given, else that of a robust row."""
    if epsilon is not None:
        return epsilon
    own = (SCHEMES[plan.scheme].epsilon(plan.scheme_config) for plan in recipes.values())
    found: float | None = next((value for value in own if value is not None), None)
    return found


def open_directory(
    output: Output, settings: Mapping[str, Any], reads: Iterable[Path]
) -> dict[str, Any]:
    """Check a comparison's directory, and return the record there that goes on; else an empty one.

    Args:
        output: the directory, and whether it is replaced or goes on.
        settings: those of this comparison.
        reads: files and directories that the comparison reads.

    Raises:
        DfkdError: it must not be written, or has no comparison of these settings to go on with.
    """
    if output.path is None:
        return {}
    layout = run_entries.COMPARISON
    directory = run_directory.prepare(output.path, output.overwrite, output.resume, layout, reads)
    if not output.resume:
        return {}
    record = run_records.read_json(directory / FILE)
    if not record:
        raise DfkdError(f"no comparison in {directory}; start it without `resume`")
    found = manifest.differences(record["settings"], settings)
    if found:
        raise DfkdError(f"`resume` wants the settings of the comparison: {'; '.join(found)}")
    return record


def begin(
    setup: Setup,
    teachers: Sequence[Teacher],
    settings: Mapping[str, Any],
    command: str | None,
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the record to go on with; the comparison's directory is there then.

    Args:
        setup: what the runs share.
        teachers: as they were given, one by one.
        settings: what a comparison that goes on must have in common with this one, as plain values.
        command: that was typed; None in Python.
        earlier: the record of a comparison that goes on; else empty.

    Raises:
        DfkdError: whatever can be seen to be wrong before the first run.
    """
    for one in setup.teachers.values():
        check_fits(setup.evaluation.data, one.spec, one.num_classes)
    record = dict(earlier) or _first_record(setup, teachers, settings, command)
    was, now = record.get("prior", ""), teachers[0].prior_note
    if was != now:
        raise DfkdError(
            f"`resume` wants the `prior` of the comparison: {was or 'none'}, now {now or 'none'}"
        )
    before = [record["teacher_hash"], *record.get("further_hashes", [])]
    for number, (was, teacher) in enumerate(zip(before, teachers, strict=False), 1):
        if was != teacher.fingerprint():
            whose = "the teacher" if number == 1 else f"teacher {number}"
            raise DfkdError(f"{whose} is not the one that the comparison was started with")
    output = setup.output
    if output.path is not None:
        run_directory.create(output.path, output.resume, output.overwrite, run_entries.COMPARISON)
    return record


def _first_record(
    setup: Setup, teachers: Sequence[Teacher], settings: Mapping[str, Any], command: str | None
) -> dict[str, Any]:
    students = {name: setup.draw(name, setup.seeds[0]).network for name in setup.recipes}
    device = devices.resolve_device(setup.compute.device)
    record = run_records.provenance(None, devices.hardware(device))
    return {
        **record,
        "command": command or record["command"],
        "settings": dict(settings),
        "classes": next(iter(setup.teachers.values())).num_classes,
        "prior": teachers[0].prior_note,
        "teacher_hash": teachers[0].fingerprint(),
        "further_hashes": [teacher.fingerprint() for teacher in teachers[1:]],
        "teacher_parameters": count_parameters(teachers[0].network),
        "student_parameters": count_parameters(next(iter(students.values()))),
        "refused": {},
        "step_bytes": _memory(setup, students),
    }


def _memory(setup: Setup, students: Mapping[str, nn.Module]) -> dict[str, int | None]:
    """``step_bytes`` by variant; methods whose students learn alike are measured once."""
    found: dict[Any, int | None] = {}
    by_variant = {}
    for name, plan in setup.recipes.items():
        alike = (plan.scheme, plan.scheme_config, plan.learner)
        if alike not in found:
            found[alike] = step_bytes(setup.teachers[name], students[name], plan)
        by_variant[name] = found[alike]
    return by_variant
