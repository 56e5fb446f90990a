"""What the attacks of a maintained library leave of a network, beside what ours leave."""

import numpy as np
import pytest
from torch import nn

import dfkd
from dfkd.datasets import load_data
from dfkd.evaluation.robustness import robust_accuracy, select_evenly
from dfkd.loading import load_teacher
from dfkd.networks import initialise, vgg
from dfkd.recipes import override, recipe


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory):
    """The Adversarial Robustness Toolbox; it writes into the home directory on import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier
    return evasion, PyTorchClassifier


def wrapped(toolbox, network, spec):
    """The network as the toolbox takes one: of images in [0, 1], in eval mode."""

    class Normalised(nn.Module):
        def forward(self, images):
            return network(spec.normalize(images))

    return toolbox[1](
        Normalised().eval(), nn.CrossEntropyLoss(), spec.shape, 10,
        clip_values=(0, 1), device_type="cpu",
    )  # fmt: skip


def left(network, data, *attacks) -> float:
    """The share of images that are answered right after every attack."""
    images, labels = data.images.numpy().astype("float32") / 255, data.labels.numpy()
    moved = [images, *(attack.generate(images, labels) for attack in attacks)]
    right = [network.predict(each).argmax(1) == labels for each in moved]
    return float(np.logical_and.reduce(right).mean())


@pytest.mark.parametrize("epsilon", [0.05, 0.1])
def test_attacks_of_others_leave_as_much(epsilon, toolbox):
    evasion, _ = toolbox
    teacher = load_teacher("bundled:digits_vgg")
    data = select_evenly(load_data("bundled:digits_vgg"), 120)
    ours = robust_accuracy(teacher, teacher.spec, data, epsilon=epsilon, steps=20)
    network = wrapped(toolbox, teacher.network, teacher.spec)
    options = {"eps": epsilon, "eps_step": epsilon / 8, "max_iter": 20, "verbose": False}
    plain = evasion.ProjectedGradientDescent(network, num_random_init=1, **options)
    np.random.seed(0)  # of its random starts, once for both attacks
    # Random starts alone move either by two images of 120 (one standard deviation).
    assert ours == pytest.approx(left(network, data, plain), abs=0.05)
    # Steps that adapt find a little more, and hardly less.
    automatic = evasion.AutoProjectedGradientDescent(
        network, nb_random_init=2, loss_type="cross_entropy", **options
    )
    assert ours - 0.05 <= left(network, data, automatic) <= ours + 0.01


@pytest.mark.slow
def test_a_robust_student_withstands_attacks_that_adapt_and_that_see_no_gradient(toolbox):
    """As AutoAttack does (Croce & Hein, ICML 2020): APGD on two losses, Square, the worst of all.

    What only hid its gradients from PGD would fall to these. (The toolbox's own ``AutoAttack``
    wants a further package.)
    """
    np.random.seed(0)
    evasion, epsilon, shares = toolbox[0], 0.1, {}
    teacher = load_teacher("bundled:digits_vgg")
    data = select_evenly(load_data("bundled:digits_vgg"), 100)
    for scheme, settings in (("offline", []), ("robust", [f"scheme_config.epsilon={epsilon}"])):
        student = initialise(vgg((32, 64, 32), 2, 1, 10), seed=0)
        settings = [f"scheme={scheme}", "learner.flip=0", "trunk=trained", *settings]
        plan = override(recipe("default"), settings)
        result = dfkd.distill(teacher, student, recipe=plan, steps=400, device="cpu")
        network, common = wrapped(toolbox, result.student, teacher.spec), {"verbose": False}
        adaptive = [
            evasion.AutoProjectedGradientDescent(
                network, eps=epsilon, eps_step=epsilon / 4, max_iter=50, loss_type=loss, **common
            )
            for loss in ("cross_entropy", "difference_logits_ratio")
        ]
        square = evasion.SquareAttack(network, eps=epsilon, max_iter=500, **common)
        pgd_20 = robust_accuracy(result.student, teacher.spec, data, epsilon=epsilon, steps=20)
        shares[scheme] = pgd_20, left(network, data, *adaptive, square)
    plain, robust = shares["offline"], shares["robust"]
    # Two standard deviations of a share of 100 images.
    assert robust[1] > plain[1] + 0.1, shares
    assert robust[1] > robust[0] - 0.1, shares
