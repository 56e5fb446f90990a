"""MODEL URIs: how they are read, and what loads."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.errors import DfkdError
from dfkd.loading import (
    ModelURI,
    load_model,
    load_teacher,
    parse_uri,
)
from dfkd.loading.uri import NAMED_KINDS
from dfkd.networks.fingerprint import fingerprint
from dfkd.teacher.spec import ImageSpec
from support.loading import FACTORY, SMALL, small, write_factories


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_factories(tmp_path)


# --- URIs -----------------------------------------------------------------------------------

paths = st.text("ab é%&?#=:/23567F~\\", min_size=1, max_size=12)
words = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(str.isidentifier)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, width=32)
values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)
uris = st.builds(
    lambda kind, place, path, factory, weights, keywords, part: ModelURI(
        kind,
        {"file": f"{path}/net.py", "module": f"{place}.net"}.get(kind, path),
        factory if kind in ("file", "module") else "",
        weights,
        keywords,
        part if weights else "",
    ),
    st.sampled_from([*NAMED_KINDS, "file", "module"]),
    words,
    paths,
    words,
    st.none() | paths,
    st.dictionaries(words.filter(lambda word: word != "weights"), values, max_size=4),
    paths | st.just(""),
)


@settings(deadline=None)
@given(uris)
def test_a_uri_survives_printing_and_parsing(uri: ModelURI) -> None:
    assert parse_uri(str(uri)) == uri


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(DfkdError):
        uri = parse_uri(text)
        assert parse_uri(uri.base).base == uri.base
        assert "%" in text or uri.base == text.partition("?")[0]


def test_values_are_literals_or_strings() -> None:
    uri = parse_uri("a.b:f?x=3&y=0.5&z=True&w=[16,32]&s=plain&weights=w.pth")
    assert uri.keywords == {"x": 3, "y": 0.5, "z": True, "w": [16, 32], "s": "plain"}
    assert uri.weights == "w.pth"
    assert uri.base == "a.b:f"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("FALSE", False), ("None", None), ("none", None), ("'true'", "true"),
     ("truely", "truely"), ("1e3", 1000.0)],
)  # fmt: skip
def test_words_for_values_are_read_in_any_case(text: str, value: Any) -> None:
    assert parse_uri(f"a.b:f?x={text}").keywords == {"x": value}


def test_paths_may_have_any_letter() -> None:
    uri = parse_uri("w/q%3Fr/é x.py:build?weights=C:/a%26b 100%/w%23.pth#ema&bn=false")
    assert (uri.name, uri.factory) == ("w/q?r/é x.py", "build")
    assert (uri.weights, uri.part) == ("C:/a&b 100%/w#.pth", "ema")
    assert parse_uri(r"C:\m.py:build").name == r"C:\m.py"
    assert parse_uri("hf:~/a/b").name == "~/a/b"


# --- What loads -----------------------------------------------------------------------------


def test_bundled_teachers_know_their_images_and_classes() -> None:
    teacher = load_teacher("bundled:fashion_resnet20")
    assert teacher.spec == ImageSpec(1, 28, 28, (0.286,), (0.353,))
    assert teacher.class_names[0] == "T-shirt/top"
    loaded = load_model("bundled:fashion_resnet20")
    assert loaded.factory == "dfkd.networks:resnet"
    assert fingerprint(loaded.network) == teacher.fingerprint()


def test_torchvision_facts_need_no_download() -> None:
    teacher = load_teacher("torchvision:mobilenet_v3_small")
    assert teacher.spec.shape == (3, 224, 224)
    assert teacher.spec.std == (0.229, 0.224, 0.225)
    assert teacher.class_names[1] == "goldfish"
    assert load_teacher("torchvision:mobilenet_v3_small?num_classes=4").class_names[1] == "1"


def test_timm_facts_come_from_its_configuration() -> None:
    pytest.importorskip("timm")
    loaded = load_model("timm:resnet10t?num_classes=5&pretrained=False")
    assert loaded.spec is not None
    assert loaded.spec.shape[0] == 3
    assert loaded.keywords == {"num_classes": 5}
    assert load_model("timm:resnet10t?in_chans=1").spec is None


def test_a_file_is_run_on_its_own(folder: Path) -> None:
    loaded = load_model(f"{folder}/own.py:make?num_classes=7")
    assert loaded.factory == f"{folder}/own.py:make"
    assert loaded.keywords == {"num_classes": 7}
    assert "own" not in sys.modules
    assert str(folder) not in sys.path


def test_a_module_beside_the_user_is_found(folder: Path, monkeypatch: Any) -> None:
    (folder / "pkg_of_test").mkdir()
    (folder / "pkg_of_test" / "nets.py").write_text(FACTORY.replace("import sibling", ""))
    monkeypatch.chdir(folder)
    assert load_model("pkg_of_test.nets:make").factory == "pkg_of_test.nets:make"


def test_image_facts_given_win_over_the_source() -> None:
    teacher = load_teacher(
        "bundled:fashion_resnet20", image="1x32x32", class_names=list("abcdefghij")
    )
    assert teacher.spec == ImageSpec(1, 32, 32, (0.286,), (0.353,))
    assert teacher.class_names[0] == "a"
    teacher = load_teacher(SMALL, image="1x8x8", mean=[0.5], std=[0.25])
    assert teacher.spec == ImageSpec(1, 8, 8, (0.5,), (0.25,))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": state, "best": 0.5},
        lambda state: {"ema": {"state_dict": state}},
        lambda state: {"module." + key: value for key, value in state.items()},
        lambda state: {"model._orig_mod." + key: value for key, value in state.items()},
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_weights_are_found_where_people_keep_them(
    wrap: Callable[[Any], Any], suffix: str, tmp_path: Path
) -> None:
    network = small()
    torch.save(wrap(network.state_dict()), tmp_path / f"w{suffix}")
    loaded = load_model(f"{SMALL}&weights={tmp_path}/w{suffix}")
    assert fingerprint(loaded.network) == fingerprint(network)


def test_a_prefix_that_belongs_to_the_network_stays(tmp_path: Path) -> None:
    (tmp_path / "wrapped.py").write_text(
        "from torch import nn\nclass Wrapped(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.model = nn.Linear(2, 2)\n"
    )
    torch.save({"model.weight": torch.ones(2, 2), "model.bias": torch.ones(2)}, tmp_path / "w.pth")
    load_model(f"{tmp_path}/wrapped.py:Wrapped?weights={tmp_path}/w.pth")
