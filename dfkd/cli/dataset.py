"""``dfkd synthesize`` and ``dfkd dataset``."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from dfkd.cli import arguments
from dfkd.cli.build_recipe import build_recipe
from dfkd.cli.common import Shown, console, teacher_of, teachers_of, with_ledger
from dfkd.cli.flags import as_flags
from dfkd.datasets.written import WrittenSet
from dfkd.datasets.written.label_manifest import epoch_name
from dfkd.datasets.written.labels import LabelStore
from dfkd.datasets.written.manifest import SetManifest, read_manifest
from dfkd.datasets.written.shards import ShardFile, shard_name
from dfkd.errors import DfkdError, unwritable
from dfkd.loading.uri import local_paths
from dfkd.report.progress import Progress
from dfkd.runs.asking import told_queries
from dfkd.runs.options import Compute, Output
from dfkd.sets.closing import close, missing_shards
from dfkd.sets.content import impossible_values
from dfkd.sets.findings import counted
from dfkd.sets.known_teachers import check_loads
from dfkd.sets.labelling import label_set, views_for
from dfkd.sets.order import SetOrder
from dfkd.sets.plan import Maker
from dfkd.sets.run import SetResult, SetRun
from dfkd.sets.synthesize import recipe_for
from dfkd.training import devices

_HELPER = "DFKD_HELPER"
"""Set in the environment of processes that one with ``--devices`` has started."""
_MOST_PROCESSES = 256


def run_synthesize(command: arguments.Synthesize) -> int:
    """Work on a set, with as many processes as are asked for, until it is complete."""
    if not 1 <= command.devices <= _MOST_PROCESSES:
        raise DfkdError(f"`devices` must be in [1, {_MOST_PROCESSES}], not {command.devices}")
    uris = [command.teacher, *command.teachers]
    # What one process has replaced is what the others join.
    output = Output(command.out, command.overwrite and _HELPER not in os.environ)
    _take_own_gpu()
    facts = with_ledger(command.facts, uris, command.out)
    if facts.ledger is not None and command.devices > 1:
        raise DfkdError("several processes would each ask the teacher: leave `devices` out")
    teachers = teachers_of(uris, facts)
    order = _order(command, teachers[0])
    makers = [Maker(*each) for each in zip(teachers, uris, strict=True)]
    reads = [*local_paths(uris), *command.facts.class_names]
    reads += [command.config] if command.config else []
    with Progress("Synthesizing", console()) as progress:
        shown = [Shown(progress, _tell_decisions)]
        alone = Compute(device=cast(Any, command.device), compile=cast(Any, command.compile))
        run = SetRun(makers, order, alone, output, shown, reads)
        helpers = _start_helpers(command.devices)
        try:
            result = run.run()
        finally:
            for helper in helpers:
                helper.wait()
    return _tell_end(result)


def _take_own_gpu() -> None:
    """Give each of the processes of a launcher, which numbers them, a GPU of its own."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def _order(command: arguments.Synthesize, teacher: Any) -> SetOrder:
    recipe = build_recipe(
        recipe_for(command.method, teacher), config=command.config, assignments=command.set
    )
    return SetOrder(
        recipe, command.per_class, command.count, _numbers(command.classes, "classes"),
        command.priors, command.mixtures, command.steps, command.shard_size, command.seed,
    )  # fmt: skip


def _numbers(text: str | None, name: str) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise DfkdError(f"`{name}` wants indices such as 1,7, not {text!r}") from None


def _start_helpers(devices: int) -> list[subprocess.Popen[bytes]]:
    """Start the processes beside this one: the same command, which finds the plan there."""
    if devices == 1 or os.environ.get(_HELPER):
        return []
    threads = max(1, torch.get_num_threads() // devices)
    torch.set_num_threads(threads)
    words = [sys.executable, "-m", "dfkd", *sys.argv[1:]]
    environments = (
        {**os.environ, _HELPER: "1", "OMP_NUM_THREADS": str(threads), "LOCAL_RANK": str(rank)}
        for rank in range(1, devices)
    )
    quiet = subprocess.DEVNULL
    # No new session: Ctrl-C in a terminal reaches them as well.
    return [subprocess.Popen(words, env=own, stdout=quiet) for own in environments]


def _tell_decisions(facts: Mapping[str, Any]) -> None:
    for line in facts["decisions"]:
        print(as_flags(line))


def _tell_end(result: SetResult) -> int:
    if not result.complete:
        there = result.shards - len(
            missing_shards(result.directory, read_manifest(result.directory))
        )
        print(
            f"interrupted: {there} of {counted(result.shards, 'shard')} are in {result.directory}; "
            "the same command goes on",
            file=sys.stderr,
        )
        return 130
    images = len(result.dataset)
    shards = counted(result.shards, "shard")
    print(f"{counted(images, 'image')} in {shards}, {result.made} of them made here")
    for account in result.queries:
        print(*told_queries(account), sep="\n")
    print(result.directory)
    return 0


def run_label(command: arguments.DatasetLabel) -> int:
    """Write the teacher's answers to many views of a set."""
    data = WrittenSet(command.directory)
    first = data.manifest.teachers[0]
    source, facts = command.teacher or first.source, command.facts
    if not command.teacher:
        check_loads(source)
        if first.only_classes is not None and facts.only_classes is None:
            facts = replace(facts, only_classes=",".join(map(str, first.only_classes)))
    facts = with_ledger(facts, [source], command.directory)
    teacher = teacher_of(source, facts).to(devices.resolve_device(command.device))
    given = {name: getattr(command, name) for name in ("crop", "light", "mix")}
    given |= {} if command.flip is None else {"flip": command.flip}
    with Progress("Labelling", console()) as progress:
        complete = label_set(
            data, teacher, epochs=command.epochs, top_k=command.top_k, bits=command.bits,
            views=replace(views_for(data), **given), seed=command.seed, callbacks=[Shown(progress)],
        )  # fmt: skip
    if not complete:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    store = LabelStore(data)
    size = sum((data.directory / epoch_name(epoch)).stat().st_size for epoch in range(store.epochs))
    print(f"{store.epochs} epochs of labels for {len(data):,} images, {size / 1e6:,.1f} MB")
    print(f"dfkd distill set:{data.directory} STUDENT needs no teacher")
    return 0


def _check_values(directory: Path, plan: SetManifest) -> None:
    """Raise where a shard that was made elsewhere has what it cannot have."""
    for index, entry in enumerate(plan.shards):
        path = directory / shard_name(index)
        file = ShardFile(path, plan.image.shape, len(plan.classes), entry.count)
        for _, line in impossible_values(file, entry.count, entry.seed, plan):
            raise DfkdError(f"{path} {line}: run dfkd dataset check --repair")


def run_merge(command: arguments.DatasetMerge) -> int:
    """Close a set; says what is missing."""
    plan = read_manifest(command.directory)
    missing = missing_shards(command.directory, plan)
    if missing:
        raise DfkdError(
            f"{command.directory} lacks {len(missing)} of {len(plan.shards)} shards, the first is "
            f"{missing[0]}: copy them there, or run dfkd synthesize again"
        )
    if plan.complete:
        WrittenSet(command.directory).check_bytes()
    _check_values(command.directory, plan)
    try:
        closed = close(command.directory, plan)
    except OSError as error:
        raise unwritable(error, command.directory) from error
    print(
        f"{counted(closed.count, 'image')} in {counted(len(closed.shards), 'shard')}: "
        f"{command.directory} is complete"
    )
    return 0
