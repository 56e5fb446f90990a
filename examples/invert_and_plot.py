"""What a classifier remembers of its classes, as pictures: invert it and plot them.

    python examples/invert_and_plot.py [--classes 1 7 8 9] [--steps 150] [--out inverted.png]

No image is read: pixels are optimised until the teacher is sure of the class and
its batch-norm layers see the statistics that they saw in training.
"""

import argparse
from dataclasses import replace

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import dfkd
from dfkd.synthesis.methods.deep_inversion_config import cifar

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", default="bundled:fashion_resnet20")
    parser.add_argument("--classes", type=int, nargs="+", default=[1, 7, 8, 9])
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", default="inverted.png")
    options = parser.parse_args()

    teacher = dfkd.load_teacher(options.teacher)
    classes, rows = options.classes, options.rows
    # The published setting, but for few images, which cannot have the statistics of
    # thousands: looser statistics, and smoother pictures, which are nicer to look at.
    setting = replace(cifar(), r_feature=3.0, tv_l2=1e-2, smooth_start=True, clip=True)
    count = rows * len(classes)
    images = dfkd.invert(teacher, classes, count, steps=options.steps, config=setting).images
    confidence = teacher(images).softmax(1)

    figure, axes = plt.subplots(rows, len(classes), squeeze=False, figsize=(2 * len(classes), 8))
    for index, (axis, image) in enumerate(zip(axes.flat, images, strict=True)):
        label = classes[index % len(classes)]
        axis.imshow(image.permute(1, 2, 0).squeeze(-1), cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{teacher.class_names[label]} {confidence[index, label]:.0%}", fontsize=8)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(options.out, dpi=120)
    print(f"{len(images)} images of {len(classes)} classes in {options.out}")
