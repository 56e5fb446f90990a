"""A small student from the bundled teacher, without a single image of its data.

    python examples/distil_in_python.py [--steps 400]

The network ``resnet(8, ...)`` stands for any ``nn.Module`` of yours that takes the
teacher's (normalised) images and returns as many logits. The real test images are
used once, at the end, to see how well it went.
"""

import argparse

import torch

import dfkd
from dfkd.networks import resnet

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    steps = parser.parse_args().steps

    teacher = dfkd.load_teacher("bundled:digits_vgg")
    torch.manual_seed(0)  # of the student's first weights
    student = resnet(depth=8, in_channels=1, num_classes=10, widths=(8, 16, 32))
    data = dfkd.load_data("bundled:digits_vgg")
    result = dfkd.distill(teacher, student, steps=steps, evaluation=data)

    found = result.metrics
    for name, accuracy, parameters in (
        ("teacher", found.teacher_accuracy, found.teacher_parameters),
        ("student", found.student_accuracy, found.student_parameters),
    ):
        print(f"{name}: {accuracy:.1%} of real test images, {parameters:,} parameters")
    print(f"{found.images_synthesized:,} images drawn, {found.seconds.total:.0f} s")
    torch.save(result.student.state_dict(), "student.pth")
    print("the student is in student.pth")
