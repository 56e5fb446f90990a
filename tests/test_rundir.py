"""A run's directory: what is refused before the work, and what is removed when it starts."""

import pytest

from dfkd import rundir
from dfkd.errors import DfkdError


@pytest.fixture
def earlier(tmp_path):
    """The directory of an earlier run."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    return run


def test_preparing_removes_nothing_and_creates_nothing(earlier, tmp_path):
    assert rundir.prepare(earlier, overwrite=True) == earlier
    assert (earlier / "manifest.json").exists()
    assert not rundir.prepare(tmp_path / "new").exists()


def test_creating_empties_an_earlier_run_unless_it_goes_on(earlier):
    rundir.create(earlier, resume=True)
    assert (earlier / "manifest.json").exists()
    rundir.create(earlier)
    assert list(earlier.iterdir()) == []


def test_what_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        DfkdError, match=r"--out .*run cannot be written \(Not a directory\); choose"
    ):
        rundir.create(tmp_path / "file" / "run")


def test_a_directory_in_use_is_refused(earlier):
    with pytest.raises(DfkdError, match="--overwrite"):
        rundir.prepare(earlier)
    (earlier / "manifest.json").rename(earlier / "thesis.tex")
    with pytest.raises(DfkdError, match="does not look like one"):
        rundir.prepare(earlier, overwrite=True)
