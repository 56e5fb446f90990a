"""Sentences of a page: what a result says, never more than was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from dfkd.report.units import NOT_MEASURED, duration, percent, ratio, whole

_Record = Mapping[str, Any]
Rows = list[tuple[str, str]]


def is_inversion(result: _Record) -> bool:
    """Return whether a run made pictures only, without a student."""
    return "own_top1" in result


def models(result: _Record) -> list[dict[str, Any]]:
    """Return the rows of the table: those recorded, else what the result says of both networks."""
    if result.get("comparison"):
        return [dict(row) for row in result["comparison"]]
    rows = [
        {
            "name": name.capitalize(),
            "accuracy": result.get(f"{name}_accuracy"),
            "parameters": result.get(f"{name}_parameters"),
        }
        for name in ("teacher", "student")
        if result.get(f"{name}_parameters") is not None
    ]
    for row in rows:  # none is of a teacher that shows nothing but answers
        row["parameters"] = row["parameters"] or None
    if len(rows) == 2:
        rows[1]["agreement"] = result.get("agreement")
    return rows


def title(manifest: _Record, result: _Record) -> str:
    """Return the page's heading."""
    if is_inversion(result):
        return "What the teacher remembers"
    rows = models(result)
    if len(rows) > 1 and result.get("comparison"):
        return f"{rows[0].get('name')} → {rows[1].get('name')}"
    if not result:
        return "A run without a result yet"
    real = manifest.get("real_data")
    # Without rows nothing was measured on real data: it was trained on, in place of a method's.
    given = isinstance(real, Mapping) and real.get("used")
    if _foreign(manifest):
        return "A student from foreign data"
    return f"A student from {result.get('method')}" if given else "A student without data"


def lead(result: _Record) -> str:
    """Tell the outcome in a sentence or two."""
    images = result.get("images_synthesized")
    if is_inversion(result):
        made = f"{whole(images)} pictures" if images else "Pictures"
        share = percent(result.get("own_top1"))
        return f"{made} drawn from the weights alone; the teacher recognises {share} of them."
    if not result:
        return "The run has not finished, or its result was not recorded."
    if result.get("failure"):
        return str(result["failure"])
    size = ratio(result.get("student_parameters"), result.get("teacher_parameters"))
    kept = ratio(result.get("student_accuracy"), result.get("teacher_accuracy"))
    parts = []
    if kept is not None:
        parts.append(f"keeps {percent(kept)} of its teacher’s accuracy")
    elif result.get("agreement") is not None:
        parts.append(f"gives its teacher’s answer on {percent(result['agreement'])} of the images")
    if size is not None:
        parts.append(f"has {percent(size, 0)} of its parameters")
    outcome = f"The student {' and '.join(parts)}. " if parts else ""
    method = str(result.get("method") or "")
    given = method if ":" in method or not images else ""  # a DATA URI, of images that are given
    made = f"{whole(images)} synthetic images" if images else ""
    source = " and ".join(filter(None, [given, made]))
    return outcome + (f"It learnt from {source}." if source else "")


def warning(manifest: _Record, result: _Record) -> str:
    """Tell what a reader must know before any number; empty if there is nothing."""
    notes = []
    before, after = manifest.get("teacher_hash_before"), manifest.get("teacher_hash_after")
    if before and after and before != after:
        notes.append("The teacher changed during the run: its hashes before and after differ.")
    if said := kept_from_before(result):
        notes.append(said)
    if result.get("collapsed") is True:
        notes.append("The run collapsed: do not use its student or its images as they are.")
    return " ".join(notes)


def kept_from_before(result: _Record) -> str:
    """Tell why an earlier student was kept; empty if the last one was."""
    held_out = result.get("held_out") or {}
    if held_out.get("kept") == "way":
        end, best = (percent(held_out[name]["agreement"]) for name in ("end", "best"))
        return (
            f"The student of {percent(held_out['share'], 0)} of the run is kept: it agrees with "
            f"the teacher on {best} of {held_out['images']} held-out images, the last one on {end}."
        )
    if held_out.get("kept") != "start":
        return ""
    start, end = (percent(held_out[name]["agreement"]) for name in ("start", "end"))
    return (
        "Training did not help, so the student is kept as it started: its agreement with the "
        f"teacher on {held_out['images']} held-out images is {start}, after training {end}."
    )


def highlights(result: _Record) -> list[tuple[str, str, str]]:
    """Return (number, name, remark) of the few numbers that matter most."""
    seconds = (result.get("seconds") or {}).get("total")
    time = (duration(seconds), "Wall time", "synthesis and distillation")
    if is_inversion(result):
        own = (percent(result["own_top1"]), "Own top-1", "recognised by the teacher itself")
        made = (whole(result.get("images_synthesized")), "Pictures", "made from weights alone")
        return [own, made, (time[0], time[1], "")]
    if not result:
        return []
    student, teacher = result.get("student_accuracy"), result.get("teacher_accuracy")
    predicted = result.get("expected")
    if student is None and predicted:
        low, high = (percent(predicted[end]) for end in ("low", "high"))
        accuracy = (percent(predicted["expected"]), "Expected accuracy", f"{low} to {high}")
    elif student is None:
        accuracy = (NOT_MEASURED, "Student accuracy", "no --eval")
    else:
        accuracy = (percent(student), "Student accuracy", f"teacher {percent(teacher)}")
    size = ratio(result.get("student_parameters"), result.get("teacher_parameters"))
    return [
        accuracy,
        (percent(result.get("agreement")), "Agreement", "same answer as the teacher"),
        (percent(size, 0), "Size", "of the teacher’s parameters"),
        time,
    ]


def account(result: _Record) -> Rows:
    """Return the settings of a run and what it spent, by name."""
    seconds = result.get("seconds") or {}
    total = seconds.get("total")
    rows = [
        ("Method", str(result.get("method") or "")),
        ("Scheme", str(result.get("scheme") or "")),
        ("Knowledge", str(result.get("knowledge") or "")),
        ("Layers compared", "; ".join(result.get("pairs") or ())),
        ("Expected accuracy", expected(result)),
        ("What is wrong", " ".join(f"{line}." for line in result.get("findings") or ())),
        ("Images synthesised", whole(result.get("images_synthesized"))),
        ("Images shown to the teacher", whole(result.get("teacher_forwards"))),
        ("Asked of the teacher", asked(result)),
        ("Student steps", whole(result.get("student_steps"))),
        ("Early exits", earliest_exit(result)),
        ("Time in all", duration(total)),
    ]
    for name in ("synthesis", "distillation", "asking"):
        if spent := seconds.get(name):
            share = ratio(spent, total)
            text = duration(spent) if share is None else f"{duration(spent)} ({percent(share, 0)})"
            rows.append((f"Time for {name}", text))
    return [(name, text) for name, text in rows if text.strip("–")]


def asked(result: _Record) -> str:
    """Tell how many images a metered teacher was asked about; empty where nothing was counted."""
    account = result.get("queries")
    if not account:
        return ""
    limit = f" of {whole(account['budget'])}" if account["budget"] else ""
    cost = f", at a cost of {account['cost']:g}" if account["price"] else ""
    total = sum(account["asked"].values())
    return f"{whole(total)}{limit} images, {whole(account['counted'])} counted{cost}"


def expected(result: _Record) -> str:
    """Tell the accuracy that is predicted of the student; empty where the teacher's is unknown."""
    found = result.get("expected")
    if not found:
        return ""
    low, middle, high, teacher = (percent(found[k]) for k in ("low", "expected", "high", "teacher"))
    return f"{middle}, in nine of ten cases {low} to {high}, if the teacher has {teacher}"


def earliest_exit(result: _Record) -> str:
    """Tell which early exit nearly has the student's accuracy, and its cost; empty without any."""
    exits = {row["name"]: row for row in result.get("exits") or ()}
    if not exits:
        return ""
    row = exits.get(result.get("earliest_exit"))
    if row is None:
        return "No exit has 97\u202f% of the student’s accuracy."
    kept, work = percent(row["share_of_accuracy"]), percent(row["share_of_compute"], 0)
    name = str(row["name"]).capitalize()
    bar = "97\u202f% of the student’s accuracy"
    return f"{name} is the earliest with {bar}: {kept} for {work} of the compute."


def provenance_rows(manifest: _Record) -> Rows:
    """Return where the numbers come from: seed, hashes of the teacher, use of real data."""
    rows: Rows = []
    if manifest.get("seed") is not None:
        rows.append(("Seed", str(manifest["seed"])))
    before, after = manifest.get("teacher_hash_before"), manifest.get("teacher_hash_after")
    if before and before == after:
        rows.append(("Teacher’s hash, before = after", _short(before)))
    elif before or after:
        rows.append(("Teacher’s hash before", _short(before)))
        rows.append(("Teacher’s hash after", _short(after)))
    real = manifest.get("real_data")
    if not isinstance(real, Mapping) or "used" not in real:
        text = "not recorded"
    elif real["used"]:
        text = f"used for: {real.get('purpose') or 'a purpose not recorded'}"
    else:
        text = "none, neither for training nor for measuring"
    if manifest:
        rows.append(("Real data", text))
    if foreign := _foreign(manifest):
        rows.append(("Foreign data", f"used for: {foreign}"))
    return rows


def _foreign(manifest: _Record) -> str:
    """What foreign data was used for; "" where there was none."""
    found = manifest.get("foreign_data")
    used = isinstance(found, Mapping) and found.get("used")
    return str(found.get("purpose") or "a purpose not recorded") if used and found else ""


def balance_note(counts: Sequence[int]) -> str:
    """Tell the fewest and the most images of a class, and how many classes have none."""
    if not counts:
        return ""
    empty = sum(count == 0 for count in counts)
    note = f"{whole(min(counts))} to {whole(max(counts))} images a class"
    return note + (f"; {whole(empty)} of {whole(len(counts))} classes have none." if empty else ".")


def _short(digest: Any) -> str:
    """Shorten a hash; the manifest has all of it."""
    text = str(digest or "not recorded")
    return text if len(text) <= 24 else f"{text[:23]}…"
