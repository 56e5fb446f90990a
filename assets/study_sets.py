"""What a written dataset is worth: fresh students from so many images of each class.

    python assets/study_sets.py bundled:digits_vgg STUDENT --train npz:FILE --out DIR

For each method and number of images of a class: a set, labelled, then students of three seeds that
see nothing else. Beside them, with as many images and the same way of labelling: noise, and real
images drawn at random, once with soft labels and once with their classes alone. Prints a line of
JSON for each, which assets/RESULTS.md sums up. Real images serve for that comparison alone.
"""

import argparse
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

import dfkd
from dfkd.datasets.written import ClassEntry, SetManifest, ShardEntry, TeacherEntry, WrittenSet
from dfkd.datasets.written.manifest import write_manifest
from dfkd.datasets.written.shards import shard_name, write_shard
from dfkd.networks import initialise
from dfkd.sets.labelling import label_set, views_for
from dfkd.sets.makers import as_rows

EPOCHS = 20


def written(directory, teacher, images, labels):
    """Write images that nobody synthesized as a set, to be labelled and learned from alike."""
    with torch.no_grad():
        logits = teacher(images.float() / 255)
    counts = labels.bincount(minlength=teacher.num_classes).tolist()
    plan = SetManifest(
        teacher.spec,
        tuple(ClassEntry(n, None, c) for n, c in zip(teacher.class_names, counts, strict=True)),
        (TeacherEntry("a module", teacher.fingerprint()),),
        {"method": "comparison"},
        0,
        (ShardEntry(len(images), 0),),
        real_data_used=True,
    )
    digest = write_shard(directory / shard_name(0), as_rows(teacher, images, logits, labels, 0))
    write_manifest(directory, plan.closed([digest]))
    return WrittenSet(directory)


def trained(data, student, tests, steps, seeds, knowledge):
    accuracies = []
    for seed in seeds:
        recipe = dfkd.recipe(
            seed=seed, init="random", learner={"knowledge": knowledge},
            alternation={"batch_size": 64},
        )  # fmt: skip
        network = initialise(dfkd.load_student(student, STUDENTS), seed)
        result = dfkd.distill(data, network, recipe, steps=steps, evaluation=tests)
        accuracies.append(round(100 * result.metrics.student_accuracy, 1))
    return accuracies


def tell(**values):
    print(json.dumps(values), flush=True)


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("teacher")
    words.add_argument("student")
    words.add_argument("--train", required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--per-class", type=int, nargs="*", default=[1, 10, 50])
    words.add_argument("--synthesis-steps", type=int, default=1000)
    words.add_argument("--steps", type=int, default=600)
    words.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    words.add_argument(
        "--epochs", type=int, nargs="*", default=[],
        help="in place of all that: students of the first set with labels of so many epochs",
    )  # fmt: skip
    words.add_argument("--bits", type=int, nargs="*", default=[8], help="of those labels' answers")
    words.add_argument("--top-k", type=int, help="answers that those labels keep")
    given = words.parse_args()
    global STUDENTS
    teacher = STUDENTS = dfkd.load_teacher(given.teacher)
    tests, real = dfkd.load_data(given.teacher), dfkd.load_data(given.train)
    for epochs, bits in product(given.epochs, given.bits):
        place = given.out / f"labels_{epochs}_{bits}"
        shutil.rmtree(place, ignore_errors=True)
        source = given.out / f"natural_{given.per_class[0]}"
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("labels*"))
        data = WrittenSet(place)
        label_set(data, teacher, epochs=epochs, bits=bits, top_k=given.top_k)
        size = sum(path.stat().st_size for path in (place / "labels").iterdir())
        found = trained(data, given.student, tests, given.steps, given.seeds, "kd")
        tell(
            teacher=given.teacher, images=len(data), epochs=epochs, bits=bits, top_k=given.top_k,
            bytes=size, accuracies=found,
        )  # fmt: skip
    for count in [] if given.epochs else given.per_class:
        sets = {}
        for method in ("natural", "sre2l"):
            place = given.out / f"{method}_{count}"
            made = dfkd.synthesize(
                teacher, output=place, method=method, per_class=count, steps=given.synthesis_steps
            )
            sets[method] = made.dataset
            views = views_for(made.dataset)
        generator = torch.Generator().manual_seed(count)
        labels = torch.arange(teacher.num_classes).repeat(count)
        shape = (len(labels), *teacher.spec.shape)
        noise = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        shutil.rmtree(given.out / f"noise_{count}", ignore_errors=True)
        sets["noise"] = written(given.out / f"noise_{count}", teacher, noise, labels)
        order = torch.randperm(len(real), generator=generator)
        chosen = torch.cat(
            [order[real.labels[order] == index][:count] for index in range(teacher.num_classes)]
        )
        for name in ("real", "hard"):
            shutil.rmtree(given.out / f"{name}_{count}", ignore_errors=True)
            sets[name] = written(
                given.out / f"{name}_{count}", teacher, real.images[chosen], real.labels[chosen]
            )
        for name, data in sets.items():
            own = replace(views, mix=0.0) if name == "hard" else views
            label_set(data, teacher, epochs=EPOCHS, views=own)
            knowledge = "hard" if name == "hard" else "kd"
            found = trained(data, given.student, tests, given.steps, given.seeds, knowledge)
            tell(
                teacher=given.teacher, per_class=count, images=name, accuracies=found,
                confidence=round(data.column("confidence").mean().item(), 3),
            )  # fmt: skip


if __name__ == "__main__":
    main()
