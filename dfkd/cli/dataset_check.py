"""``dfkd dataset check`` and ``dfkd dataset card``."""

from collections.abc import Sequence
from pathlib import Path

from dfkd.cli import arguments
from dfkd.cli.common import compute_of
from dfkd.datasets.written.manifest import read_manifest
from dfkd.errors import DfkdError
from dfkd.sets.card import PICTURE, write_card
from dfkd.sets.check import check_set
from dfkd.sets.findings import SetCheck, counted, some
from dfkd.sets.known_teachers import load_maker
from dfkd.sets.repair import repair_set
from dfkd.teacher import Teacher
from dfkd.training import devices

_LINES = 20


def run_check(command: arguments.DatasetCheck) -> int:
    """Print what is wrong with a set, and mend what can be mended where that is asked for."""
    compute = compute_of(command)
    device = devices.resolve_device(compute.device)
    teachers = [one.to(device) for one in _teachers(command)]
    found = check_set(command.directory, teachers)
    _tell(found)
    if command.repair and any(one.mends for one in found.findings):
        damaged = found.damaged
        found = repair_set(command.directory, found, teachers, compute)
        if damaged:
            print(f"made again: {counted(len(damaged), 'shard')} ({some(damaged, 10)})")
        _tell(found)
    elif not command.repair and any(one.mends for one in found.findings):
        print(f"{sum(one.mends for one in found.findings)} of these are mended by --repair")
    return 0 if found.sound else 1


def _teachers(command: arguments.DatasetCheck) -> Sequence[Teacher]:
    """Load what ``--teacher`` names, by the images of the set, if its manifest can be read."""
    if not command.teacher:
        return []
    try:
        manifest = read_manifest(command.directory)
    except DfkdError:
        return []  # which ``check_set`` says better
    ledger = Path(f"{command.directory}.queries")
    return [
        load_maker(manifest, uri, prior=command.prior, ledger=ledger) for uri in command.teacher
    ]


def _tell(found: SetCheck) -> None:
    for one in found.findings[:_LINES]:
        print(one)
    if len(found.findings) > _LINES:
        print(f"… and {len(found.findings) - _LINES:,} more")
    if not found.planned:
        return
    state = "closed" if found.complete else "not closed"
    there = f"{found.shards} of {counted(found.planned, 'shard')} there"
    numbers = f"{counted(found.images, 'image')} read, {there}, {state}"
    if found.agreement is not None:
        numbers += f"; {found.agreement:.1%} of the stored answers are the label"
    print(("nothing found: " if found.sound else "") + numbers)


def run_card(command: arguments.DatasetCard) -> int:
    """Write a set's card and say where."""
    path = write_card(command.directory)
    print(f"{path}\n{path.with_name(PICTURE)}")
    return 0
