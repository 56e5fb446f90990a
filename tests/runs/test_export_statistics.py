"""Packs of statistics: exact ones, noisy ones, and that nothing else is in the file."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

import dfkd
from dfkd.cli import main
from dfkd.errors import DfkdError
from dfkd.networks import initialise
from dfkd.runs import export_statistics as module
from dfkd.runs.contributions import bounded, contributions, read_off, units_of
from dfkd.runs.privacy import Privacy, noise_multiplier, secret_gaussian
from dfkd.teacher import Teacher
from dfkd.teacher.layer_inputs import choose_inputs
from dfkd.teacher.pack import ENTRY, PackedNoise, read_pack
from dfkd.teacher.spec import ImageSpec

SPEC = ImageSpec(1, 8, 8, (0.5,), (0.25,))


def bare() -> nn.Module:
    """No norm at all."""
    return initialise(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3),
        ), 0,
    )  # fmt: skip


class Transformer(nn.Module):
    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Conv2d(1, 8, 4, 4)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).permute((0, 2, 1) if self.batch_first else (2, 0, 1))
        return self.head(self.block(tokens).mean(1 if self.batch_first else 0))


def data(count: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)


def test_exact_statistics_are_those_of_all_images_and_places(tmp_path):
    network = bare()
    teacher = Teacher(network, SPEC)
    before = teacher.fingerprint()
    pack = dfkd.export_statistics(teacher, data(), tmp_path / "pack")
    assert [(one.label, one.axis) for one in pack.layers] == [("2", 1), ("5", 1), ("7", 1)]
    with torch.no_grad():
        z = network[:2](SPEC.normalize(data() / 255))
    torch.testing.assert_close(pack.layers[0].mean, z.mean((0, 2, 3)))
    torch.testing.assert_close(pack.layers[0].var, z.var((0, 2, 3), correction=0))
    assert teacher.fingerprint() == before == pack.teacher
    again = read_pack(tmp_path / "pack")
    assert again.digest == pack.digest
    assert again.samples == 20
    assert all(torch.equal(a.var, b.var) for a, b in zip(again.layers, pack.layers, strict=True))


@pytest.mark.parametrize("noise", [{}, {"noise_epsilon": 4.0, "noise_delta": 1e-4}])
def test_nothing_but_numbers_of_layers_leaves(tmp_path, noise, monkeypatch):
    monkeypatch.setattr(module, "noise_multiplier", lambda privacy: 0.01)
    labelled = data(), torch.arange(20) % 3
    dfkd.export_statistics(Teacher(bare(), SPEC), labelled, tmp_path / "pack", **noise)
    with safe_open(str(tmp_path / "pack"), "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    sizes = {"2": (4,), "5": (24,), "7": (5,)}
    assert shapes == {f"{kind}/{at}": n for at, n in sizes.items() for kind in ("mean", "var")}
    assert set(metadata) == {ENTRY}
    facts = json.loads(metadata[ENTRY])
    assert set(facts) == {"version", "teacher", "samples", "layers", "noise"}
    assert facts["samples"] == 20
    assert all(set(one) == {"label", "axis"} for one in facts["layers"])
    wanted = {"epsilon", "delta", "clip", "deviation", "accountant"}
    assert (set(facts["noise"]) if noise else facts["noise"]) == (wanted if noise else None)
    # Header, metadata and 66 float32: no room for anything else.
    header = int.from_bytes((tmp_path / "pack").read_bytes()[:8], "little")
    assert (tmp_path / "pack").stat().st_size == 8 + header + 4 * 2 * (4 + 24 + 5)


def test_the_noise_is_what_the_closed_form_asks_for():
    pytest.importorskip("opacus")

    def delta(deviation: float, epsilon: float) -> float:  # Balle & Wang, 2018, sensitivity 1
        low = 1 / (2 * deviation)
        tail = math.exp(epsilon) * norm.cdf(-low - epsilon * deviation)
        return float(norm.cdf(low - epsilon * deviation) - tail)

    for epsilon in (1.0, 8.0):
        found = noise_multiplier(Privacy(epsilon, 1e-5))
        exact = brentq(lambda s, e=epsilon: delta(s, e) - 1e-5, 0.1, 100)
        assert exact <= found <= 1.03 * exact


def test_one_image_moves_the_average_by_no_more_than_the_sensitivity():
    rows = torch.randn(50, 40, dtype=torch.float64) * torch.logspace(-3, 3, 50)[:, None]
    limit = 5.0
    short = bounded(rows, limit)
    assert float(short.norm(dim=1).max()) <= limit * (1 + 1e-9)
    small = rows.norm(dim=1) < limit
    assert torch.equal(short[small], rows[small])
    worst = torch.cdist(short, -short).max() / len(rows)
    assert float(worst) <= module.sensitivity(limit, len(rows)) * (1 + 1e-9)


def test_what_leaves_with_noise_is_of_bounded_contributions_alone():
    teacher = Teacher(bare(), SPEC)
    units = units_of(teacher, choose_inputs(teacher))
    noise = PackedNoise(1.0, 1e-5, 0.5, 0.0, "none")
    found = module.averaged(teacher, data(), units, noise)
    rows = torch.cat(list(contributions(teacher, data(), units, module.CUT)))
    torch.testing.assert_close(found, bounded(rows, 0.5).mean(0))
    one = data()
    one[0] = 255 - one[0]
    moved = (module.averaged(teacher, one, units, noise) - found).norm()
    assert 0 < float(moved) <= module.sensitivity(0.5, 20)


def test_images_that_count_less_leave_no_negative_variance_and_the_true_one_where_all_are_alike():
    teacher = Teacher(bare(), SPEC)
    units = units_of(teacher, choose_inputs(teacher))
    rows = torch.cat(list(contributions(teacher, data(), units, 10.0)))
    for limit in (0.1, 1.0, 1e9):
        layers = read_off(bounded(rows, limit).mean(0), units)
        assert all(float(layer.var.min()) >= 0 for layer in layers)
    found, wanted = read_off(bounded(rows[:1], 0.1)[0], units), read_off(rows[0], units)
    for layer, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(layer.mean, other.mean)
        torch.testing.assert_close(layer.var, other.var)
    with pytest.raises(DfkdError, match="noise drowns"):
        read_off(rows.mean(0), units, deviation=100.0)


def test_noise_has_the_deviation_that_is_written_and_never_comes_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "noise_multiplier", lambda privacy: 0.05)
    added = []
    still = lambda count: added.append(count) or torch.zeros(count).double()  # noqa: E731
    monkeypatch.setattr(module, "secret_gaussian", still)
    teacher = Teacher(bare(), SPEC)
    noise = {"noise_epsilon": 4.0, "noise_delta": 1e-4}
    pack = dfkd.export_statistics(teacher, data(), tmp_path / "a", **noise)
    assert added == [1 + 2 * (4 + 24 + 5)]
    sensitivity = 2 * pack.noise.clip / 20
    assert pack.noise.deviation == pytest.approx(0.05 * sensitivity)
    drawn = secret_gaussian(4000)
    assert float(drawn.std()) == pytest.approx(1, abs=0.1)
    assert float(drawn.mean()) == pytest.approx(0, abs=0.1)
    assert not torch.equal(drawn, secret_gaussian(4000))


def test_norms_come_first_and_tokens_have_their_channels_last():
    assert choose_inputs(Teacher(Transformer(), SPEC)) == {"block.norm1": -1, "block.norm2": -1}
    grouped = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4),
        nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    assert choose_inputs(Teacher(grouped, SPEC)) == {"1": 1, "4": 1}
    assert choose_inputs(Teacher(grouped, SPEC), ("6",)) == {"6": 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": ("9",)}, "no layer '9'"),
        ({"layers": ("",)}, "no layer ''|no channels"),
        ({"noise_epsilon": 1.0}, "belong together"),
        ({"noise_delta": 1e-5}, "belong together"),
        ({"noise_epsilon": -1.0, "noise_delta": 1e-5}, "must be positive"),
        ({"noise_epsilon": 1.0, "noise_delta": 1.5}, "must be positive"),
        ({"noise_epsilon": math.nan, "noise_delta": 0.1}, "must be positive"),
    ],
)
def test_orders_that_cannot_be_filled(tmp_path, settings, said):
    with pytest.raises(DfkdError, match=said):
        dfkd.export_statistics(Teacher(bare(), SPEC), data(), tmp_path / "pack", **settings)
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_stays_unless_it_may_be_replaced(tmp_path):
    (tmp_path / "pack").write_text("mine")
    teacher = Teacher(bare(), SPEC)
    with pytest.raises(DfkdError, match="there already"):
        dfkd.export_statistics(teacher, data(), tmp_path / "pack")
    assert (tmp_path / "pack").read_text() == "mine"
    dfkd.export_statistics(teacher, data(), tmp_path / "pack", overwrite=True)
    with pytest.raises(DfkdError, match="cannot be written"):
        dfkd.export_statistics(teacher, data(), tmp_path / "none" / "pack")


def test_noise_hides_no_image_of_a_layer_that_mixes_them(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "noise_multiplier", lambda privacy: 0.01)
    noise = {"noise_epsilon": 4.0, "noise_delta": 1e-4}
    teacher = Teacher(Transformer(batch_first=False), SPEC)
    with pytest.raises(DfkdError, match="mixes the images"):
        dfkd.export_statistics(teacher, data(), tmp_path / "pack", **noise)
    dfkd.export_statistics(Teacher(Transformer(), SPEC), data(), tmp_path / "pack", **noise)


def test_a_student_is_taught_with_a_pack_and_the_run_is_no_other(tmp_path):
    network = bare()
    dfkd.export_statistics(Teacher(network, SPEC), data(), tmp_path / "pack")
    recipe = dfkd.recipe("default", synthesizer={"draws": 16, "refine_steps": 1})
    asked = {"steps": 2, "compute": dfkd.Compute(batch_size=8)}
    teacher = Teacher(network, SPEC, prior=f"pack:{tmp_path / 'pack'}")
    out = tmp_path / "run"
    result = dfkd.distill(teacher, bare(), recipe, output=out, **asked)
    assert result.log
    record = json.loads((out / "manifest.json").read_text())
    assert record["prior"]["name"] == teacher.prior_note
    assert "20 images, given out by the data's owner" in record["prior"]["line"]
    assert any("given out by the data's owner" in line for line in record["decisions"])
    again = dfkd.Output(out, resume=True)
    with pytest.raises(DfkdError, match="prior pack"):
        dfkd.distill(Teacher(network, SPEC), bare(), recipe, output=again, **asked)


def test_a_set_is_made_with_a_pack_and_says_so(tmp_path):
    network = bare()
    dfkd.export_statistics(Teacher(network, SPEC), data(), tmp_path / "pack")
    teacher = Teacher(network, SPEC, prior=f"pack:{tmp_path / 'pack'}")
    asked = {"per_class": 2, "steps": 2, "method": "deep_inversion"}
    dfkd.synthesize(teacher, output=tmp_path / "set", **asked)
    made = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert made["recipe"]["prior"] == [teacher.prior_note]
    plain = Teacher(network, SPEC, prior="nothing")
    with pytest.raises(DfkdError, match="prior"):
        dfkd.synthesize(plain, output=dfkd.Output(tmp_path / "set", resume=True), **asked)


def test_labels_are_looked_at_only_to_leave_classes_out(tmp_path):
    def exported(*words):
        place = str(tmp_path / f"pack{len(words)}{words[-1][-1]}")
        assert main(["export-stats", "bundled:digits_vgg", *words, "--out", place]) == 0
        return place, read_pack(Path(place))

    images = (torch.rand(12, 8, 8) * 255).byte().numpy()
    labels = np.arange(12) + 90  # of no class of this model
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    assert exported("--data", f"npz:{tmp_path}/other.npz")[1].samples == 12
    place, pack = exported("--data", "bundled:digits_vgg", "--only-classes", "1,3")
    assert 100 < pack.samples < 200
    # It is of the whole network: whoever cuts it can use the pack, and whoever does not.
    for only in (None, "1,3", "3,9"):
        teacher = dfkd.load_teacher("bundled:digits_vgg", prior=f"pack:{place}", only_classes=only)
        assert teacher.prior_note == f"pack {pack.digest}"
    np.savez(tmp_path / "plain.npz", images=images)
    words = ["export-stats", "bundled:digits_vgg", "--data", f"npz:{tmp_path}/plain.npz"]
    assert main([*words, "--only-classes", "1,3", "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()
