"""``dfkd dataset export`` and ``dfkd dataset import``."""

from dfkd.cli import arguments
from dfkd.cli.common import teacher_of, with_ledger
from dfkd.cli.flags import as_flags
from dfkd.datasets.written import WrittenSet
from dfkd.errors import DfkdError
from dfkd.sets.exports import export_set
from dfkd.sets.imports import import_set
from dfkd.sets.plan import Maker
from dfkd.training import devices


def run_export(command: arguments.DatasetExport) -> int:
    """Write an export and print what is out of the ordinary."""
    data = WrittenSet(command.directory)
    remarks = export_set(
        data, command.to, command.out, count=command.count, overwrite=command.overwrite
    )
    for remark in remarks:
        print(as_flags(remark))
    print(f"{len(data):,} images of {command.directory} as {command.to}: {command.out}")
    return 0


def run_import(command: arguments.DatasetImport) -> int:
    """Write a set and print what it is of."""
    maker, facts = None, command.facts
    if command.teacher is None and facts != arguments.UNSAID:
        raise DfkdError(
            "an export's own note says what its images are: `image`, `mean`, `std` and "
            "`class_names` are for a `teacher`, who is asked anew"
        )
    if command.teacher is not None:
        facts = with_ledger(facts, [command.teacher], command.out)
        teacher = teacher_of(command.teacher, facts)
        teacher.to(devices.resolve_device(command.device))
        maker = Maker(teacher, command.teacher)
    data = import_set(
        command.source, command.out, maker,
        resize=facts.image is not None, overwrite=command.overwrite,
    )  # fmt: skip
    for line in data.manifest.decisions:
        print(line)
    kind = "real" if data.manifest.real_data_used else "synthetic"
    filled = sum(one.count > 0 for one in data.manifest.classes)
    print(f"{len(data):,} {kind} images of {filled:,} classes: {command.out}")
    return 0
