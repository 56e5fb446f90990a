"""Jobs in order, never too many, none lost, no error swallowed."""

import threading
import time

import pytest

from dfkd.background import Background


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
    raise OSError("disk full")


def run(*jobs, then=None):
    with Background(depth=1) as background:
        for job in jobs:
            background.submit(job)
        if then:
            raise then


@pytest.mark.parametrize("jobs", [(fail, print), (fail,)])
def test_an_error_surfaces_at_the_next_job_or_at_the_end(jobs):
    with pytest.raises(OSError, match="disk full"):
        run(*jobs)


def test_an_error_of_the_block_itself_is_the_one_that_is_raised():
    with pytest.raises(KeyError):
        run(fail, then=KeyError())
