"""The wish to stop: once it is heard, twice it is usual, and afterwards nobody listens."""

import os
import signal
import threading

import pytest

from dfkd.training.interruption import interruption

KNOWLEDGE = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def usual():
    """Signals that came through to whoever listened before."""
    heard: list[int] = []
    before = {
        kind: signal.signal(kind, lambda number, _: heard.append(number)) for kind in KNOWLEDGE
    }
    yield heard
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.parametrize("second", KNOWLEDGE)
@pytest.mark.parametrize("first", KNOWLEDGE)
def test_the_first_is_a_wish_and_the_second_acts_as_usual_of_whichever_kind(first, second, usual):
    with interruption() as wished:
        assert wished == [False]
        os.kill(os.getpid(), first)
        assert wished == [True]
        assert usual == []
        os.kill(os.getpid(), second)
        assert usual == [second]


@pytest.mark.parametrize("kind", KNOWLEDGE)
def test_afterwards_nobody_listens(kind, usual):
    with interruption() as wished:
        pass
    with pytest.raises(KeyError), interruption():
        raise KeyError
    os.kill(os.getpid(), kind)
    assert usual == [kind]
    assert wished == [False]


def test_a_thread_has_no_signals_and_works_all_the_same():
    found = []

    def work():
        with interruption() as wished:
            found.append(list(wished))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[False]]
