"""A real server process, its failures, and accounts that are equal to its own."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import dfkd
from dfkd.access.teacher import meter_of
from support.api_server import SPEC, make_teacher, serving

QUICK = "?pause=0.01&timeout=1.0&retries=3"


@pytest.fixture(scope="module")
def server():
    with serving() as found:
        yield found


@pytest.fixture
def client(server, tmp_path):
    """A teacher at the server with a ledger of its own, and what the server had counted before."""
    server.fail()
    before = server.count()
    teacher = dfkd.load_teacher(server.url + QUICK, ledger=tmp_path / "ledger")
    return teacher, lambda: server.count() - before


def images(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, *SPEC.shape), generator=generator).float() / 255


def test_answers_are_the_teachers_and_paid_once(client):
    teacher, counted = client
    expected = make_teacher()(images(5)).log_softmax(1)
    expected = expected - expected.mean(1, keepdim=True)
    for _ in range(2):
        torch.testing.assert_close(teacher(images(5)), expected, rtol=1e-4, atol=1e-4)
    assert counted() == meter_of(teacher).ledger.counted() == 6  # with the trial's
    assert teacher.class_names == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "fault", ["429", "503", "500", "reset", "slow", "lost", "torn", "html", "nan", "drip"]
)
def test_a_failure_that_passes_costs_nothing(server, client, fault):
    teacher, counted = client
    server.fail(fault)
    assert teacher(images(2)).shape == (2, 3)
    account = meter_of(teacher).as_dict()
    assert counted() == account["counted_in_ledger"] == 3
    assert account["in_doubt"] == 0


@pytest.mark.parametrize(
    ("fault", "words", "cost"),
    [
        ("503", "it answers 503", 0),
        ("404", "it answers 404", 0),
        ("redirect", "redirects to 'file:///etc/passwd', which is not followed", 0),
        ("shape", "probs of shape \\(1, 4\\) in place of \\(2, 3\\)", 2),
        ("count", "probs of shape \\(7, 3\\)", 2),
        ("nan", "NaN", 2),
        ("sum", "sum to 1.5", 2),
        ("negative", "a probability of -0.5", 2),
        ("text", "no numbers", 2),
        ("html", "it begins with '<html>sign in</html>'", 2),
        ("empty", "it is empty", 2),
        ("torn", "no npz", 2),
        ("endless", "more than 268,435,456 bytes|in time", 2),
    ],
)
def test_a_failure_that_stays_is_one_line(server, client, fault, words, cost):
    teacher, counted = client
    server.fail(*[fault] * 4)
    with pytest.raises(dfkd.DfkdError, match=words) as raised:
        teacher(images(2))
    line = str(raised.value)
    assert len(line) <= 300
    assert "\n" not in line
    account = meter_of(teacher).as_dict()
    assert counted() == account["counted_in_ledger"] + account["in_doubt"] == 1 + cost
    server.fail()
    assert teacher(images(3, seed=1)).shape == (3, 3)  # it goes on


CLIENT = """
import sys, torch, dfkd
url, ledger = sys.argv[1:]
teacher = dfkd.load_teacher(url, ledger=ledger)
print("ready", flush=True)
teacher(torch.full((3, 1, 4, 4), 0.2) * torch.arange(3).view(3, 1, 1, 1))
"""


@pytest.mark.parametrize(("fault", "in_doubt"), [("hang", 3), ("slow", 3)])
def test_a_kill_leaves_an_account_that_can_be_settled(server, tmp_path, fault, in_doubt):
    """Whether the server counted the request before (hang) or will never have (slow)."""
    server.fail("", fault)  # the trial is answered
    before, ledger = server.count(), tmp_path / "ledger"
    words = [sys.executable, "-c", CLIENT, f"{server.url}?timeout=50", str(ledger)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    from dfkd.access.ledger import Ledger

    assert Ledger(ledger).in_doubt() == in_doubt
    server.fail()
    teacher = dfkd.load_teacher(server.url, ledger=ledger)
    account = meter_of(teacher).as_dict()
    assert account["in_doubt"] == 0
    assert server.count() - before == account["counted_in_ledger"] == 4


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://127.0.0.1:1", "does not answer"),
        ("http://me:secret@127.0.0.1:1", "no name, password or query"),
        ("http://127.0.0.1:99999", "no http://HOST:PORT"),
        ("http://", "not a MODEL|no http"),
        ("URL?rats=3", "takes no 'rats'; did you mean 'rate'"),
        ("URL?rate=fast", "must be a number"),
        ("URL?rate=0", "rate must be in"),
        ("URL?weights=x.pt", "leave `weights` out"),
        ("URL/elsewhere", "answers 404"),
    ],
)
def test_what_no_server_is_there_for(server, uri, words):
    with pytest.raises(dfkd.DfkdError, match=words):
        dfkd.load_teacher(uri.replace("URL", server.url))


def test_another_access_than_the_servers(server):
    with pytest.raises(dfkd.DfkdError, match="shows probs, not top1"):
        dfkd.load_teacher(server.url, access="top1")
