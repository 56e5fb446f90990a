"""Jobs in order, never too many, none lost, no error swallowed."""

import contextlib
import errno
import os
import re
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from dfkd.errors import DfkdError
from dfkd.report.log import MetricsLog
from dfkd.training.background import Background


def test_all_jobs_are_done_in_order_when_the_block_ends():
    done = []
    with Background() as background:
        for index in range(20):
            background.submit(done.append, index)
    assert done == list(range(20))


def test_the_caller_does_not_wait_for_a_job_and_waits_for_a_full_queue():
    release, done = threading.Event(), []

    def job(index):
        release.wait(5)
        done.append(index)

    with Background(depth=2) as background:
        background.submit(job, 0)
        background.submit(job, 1)
        assert done == []
        threading.Timer(0.1, release.set).start()
        started = time.perf_counter()
        background.submit(job, 2)
        assert time.perf_counter() - started > 0.05
        assert done[:1] == [0]
    assert done == [0, 1, 2]


def fail():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run(*jobs, then=None, place=None):
    with Background(place, depth=1) as background:
        for job in jobs:
            background.submit(job)
        if then:
            raise then


@pytest.mark.parametrize("jobs", [(fail, print), (fail,)])
def test_an_error_surfaces_at_the_next_job_or_at_the_end(jobs):
    with pytest.raises(DfkdError, match=r"runs/one cannot be written \(No space left on device\)"):
        run(*jobs, place=Path("runs/one"))


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_the_file_that_cannot_be_written_is_named_where_it_is_known(kind, tmp_path):
    missing = str(tmp_path / "gone" / "metrics.jsonl")
    words = f"^{re.escape(missing)} cannot be written .No such file"
    with pytest.raises(DfkdError, match=words):
        run(partial(open, kind(missing), "w"), place=Path("runs/one"))


def test_a_full_disk_under_a_log_is_one_line(tmp_path):
    log = MetricsLog(tmp_path)
    log._file.close()
    log._file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
    with pytest.raises(DfkdError, match=r"cannot be written \(No space left on device\)"):
        run(partial(log.write, 1, 0.5, {"loss": 1.0}), place=tmp_path)
    with contextlib.suppress(OSError):
        log.close()


def test_a_log_whose_directory_is_gone_is_one_line_and_no_traceback_of_a_thread(
    tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(threading, "excepthook", hook := lambda failed: said.append(failed.thread))
    log = MetricsLog(tmp_path / "run")
    log.write(1, 0.5, {"loss": 1.0})
    shutil.rmtree(tmp_path / "run")

    def write_often():
        for step in range(200):
            log.write(step, 0.5, {"loss": 1.0})
            log._board.flush()
            time.sleep(0.005)

    with pytest.raises(DfkdError, match=r"events\.out\.\S+ cannot be written \(No such file"):
        run(write_often, place=tmp_path / "run")
    with contextlib.suppress(OSError):
        log.close()
    assert threading.excepthook is hook
    assert said == []


def test_a_log_lets_all_other_threads_speak(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: said.append(failed.thread))
    log = MetricsLog(tmp_path / "run")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    log.close()
    assert said == [thread]


def test_a_fault_of_ours_is_no_word_to_the_user():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_an_error_of_the_block_itself_is_the_one_that_is_raised():
    with pytest.raises(KeyError):
        run(fail, then=KeyError())
