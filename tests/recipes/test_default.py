"""ReDraw by its name, and by the one that it had when it had no other."""

import pytest

import dfkd
from dfkd.errors import DfkdError
from dfkd.recipes import from_dict, override, recipe, to_dict


def test_the_default_is_redraw():
    assert recipe() == recipe("default") == recipe("redraw") == dfkd.Recipe(**vars(recipe()))
    assert recipe("default").method == "redraw"


@pytest.mark.parametrize("base", [None, "redraw", "fast"])
def test_settings_of_earlier_runs_name_it_default(base):
    values = {"method": "default", "synthesizer": {"draws": 32}}
    read = from_dict(values, base and recipe(base))
    assert (read.method, read.synthesizer.draws) == ("redraw", 32)


def test_it_can_be_set_by_either_name():
    for name in ("default", "redraw"):
        assert override(recipe("fast"), [f"method={name}"]).method == "redraw"
    assert from_dict(to_dict(recipe("default"))) == recipe("redraw")


def test_a_recipe_that_is_no_method_is_none():
    with pytest.raises(DfkdError, match="unknown method 'fast_published'"):
        override(recipe("default"), ["method=fast_published"])
