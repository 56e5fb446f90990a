"""The meter with endpoints and clocks of the tests' own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dfkd
from dfkd.access.endpoint import Info, LocalEndpoint, RefusedError, Reply, UnansweredError
from dfkd.access.ledger import Ledger
from dfkd.access.meter import Meter, Patience, QueriesSpentError
from dfkd.access.packing import packed, unpacked
from support.api_server import make_teacher


class Fake:
    """Answers with the mean of an image; does what ``plan`` says first."""

    remembers = True

    def __init__(self, *plan, **facts):
        self.info = Info("fake", "logits", (1, 2, 2), ("a", "b"), **facts)
        self.plan, self.seen, self.counts = list(plan), [], {}

    def ask(self, identity, images):
        self.seen.append((identity, len(images)))
        step = self.plan.pop(0) if self.plan else None
        if isinstance(step, Exception):
            raise step
        self.counts[identity] = len(images)
        means = images.reshape(len(images), -1).mean(1)
        return Reply(np.stack([means, -means], 1).astype("f4"), self.counts[identity])

    def count(self):
        return sum(self.counts.values())


class Clock:
    def __init__(self):
        self.time, self.pauses = 0.0, []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds


def images(*values):
    return np.array(values, "u1").reshape(-1, 1, 1, 1).repeat(2, 1).repeat(2, 2)


def meter(endpoint, budget=None, ledger=None, **patience):
    clock = Clock()
    return Meter(endpoint, ledger or Ledger(), budget, Patience(**patience), clock.now, clock.sleep)


def test_an_image_is_sent_once_in_a_batch_and_ever():
    endpoint = Fake()
    one = meter(endpoint)
    assert one.ask(images(3, 5, 3)).tolist() == [[3, -3], [5, -5], [3, -3]]
    one.ask(images(5, 7))
    assert [count for _, count in endpoint.seen] == [2, 1]
    assert one.ledger.counted() == endpoint.count() == one.position == 3


def test_images_of_other_types_are_others():
    one = meter(Fake())
    one.ask(images(0))
    one.ask(images(0).astype("f4"))
    assert one.position == 2


def test_a_request_has_at_most_a_batch():
    endpoint = Fake(batch=2)
    meter(endpoint).ask(images(*range(5)))
    assert [count for _, count in endpoint.seen] == [2, 2, 1]


def test_the_budget_counts_new_images_alone():
    endpoint = Fake()
    one = meter(endpoint, budget=4)
    one.begin("run", resume=False)
    one.ask(images(1, 2, 3))
    with pytest.raises(QueriesSpentError, match="2 more images to ask about, and 1 of 4 queries"):
        one.ask(images(1, 8, 9))
    assert endpoint.count() == 3  # nothing of it was sent
    one.ask(images(3, 4))
    assert one.left == 0
    one.ask(images(1, 2, 3, 4))


def test_what_others_paid_is_asked_and_not_paid(tmp_path):
    endpoint, path = Fake(), tmp_path / "ledger"
    for run in ("one", "other"):
        another = meter(endpoint, 3, Ledger(path))
        another.begin(run, resume=False)
        another.ask(images(1, 2, 3))
        assert another.left == 0
    assert endpoint.count() == 3
    assert [another.ledger.counted(run) for run in ("one", "other")] == [3, 0]


def test_a_run_goes_on_where_it_stood(tmp_path):
    endpoint, path = Fake(), tmp_path / "ledger"
    one = meter(endpoint, 6, Ledger(path))
    one.begin("run", resume=False)
    one.ask(images(1, 2))
    position = one.position  # of a checkpoint
    with one.asking("held out"):
        one.ask(images(3, 4))
    again = meter(endpoint, 6, Ledger(path))
    again.begin("run", resume=True)
    assert again.as_dict()["asked"] == {"training": 2, "held out": 2}
    again.rewind(position)
    assert again.left == 4
    again.ask(images(3, 4, 5, 6))
    assert again.left == 0
    assert again.as_dict()["asked"] == {"training": 6}
    assert again.ledger.counted("run") == endpoint.count() == 6


def test_failures_are_repeated_under_one_id_with_growing_pauses():
    endpoint = Fake(
        UnansweredError("down", 0), UnansweredError("down", 0, 9.0), UnansweredError("no")
    )
    one = meter(endpoint, pause=1.0)
    one.ask(images(1))
    assert len({identity for identity, _ in endpoint.seen}) == 1
    pauses = one._sleep.__self__.pauses
    assert 0.5 <= pauses[0] <= 1.0
    assert pauses[1] == 9.0  # as the server asked
    assert 2.0 <= pauses[2] <= 4.0
    assert one.ledger.counted() == 1


@pytest.mark.parametrize("counted", [0, 2])
def test_what_is_given_up_costs_what_the_server_says(counted):
    one = meter(Fake(*[UnansweredError("down", counted)] * 3), retries=2)
    with pytest.raises(dfkd.DfkdError, match="no sound answer: down, after 3 tries"):
        one.ask(images(1, 2))
    assert one.ledger.counted() == counted
    assert one.ledger.in_doubt() == 0


def test_what_is_refused_is_not_repeated():
    endpoint = Fake(RefusedError("no", 1))
    one = meter(endpoint)
    with pytest.raises(RefusedError, match="no"):
        one.ask(images(1))
    assert len(endpoint.seen) == 1
    assert one.ledger.counted() == 1


def test_a_request_without_an_end_is_sent_again_by_its_id(tmp_path):
    path = tmp_path / "ledger"
    endpoint = Fake(*[UnansweredError("gone")] * 2)
    with pytest.raises(dfkd.DfkdError):
        meter(endpoint, None, Ledger(path), retries=1).ask(images(1, 2))
    assert Ledger(path).in_doubt() == 2
    later = meter(endpoint, None, Ledger(path))
    assert later.ledger.in_doubt() == 0
    assert later.ledger.counted() == 2
    assert len({identity for identity, _ in endpoint.seen}) == 1
    later.ask(images(2))
    assert endpoint.count() == 2


@pytest.mark.parametrize(("own", "said"), [(10.0, None), (None, 10.0), (10.0, 50.0)])
def test_a_rate_is_kept(own, said):
    one = meter(Fake(rate=said, batch=5), rate=own)
    one.ask(images(*range(20)))
    assert one._now() == pytest.approx(1.5)  # the last five are sent then


def test_prices_add_up():
    one = meter(Fake(price=0.25))
    one.begin("run", resume=False)
    one.ask(images(1, 2, 3))
    assert one.as_dict()["cost"] == 0.75


def test_a_ledger_is_refused_that_is_none(tmp_path):
    path = tmp_path / "file"
    path.write_text("a diary" * 300)
    with pytest.raises(dfkd.DfkdError, match="cannot be used"):
        Ledger(path)
    with pytest.raises(dfkd.DfkdError, match="cannot be used"):
        Ledger(tmp_path / "no" / "where")


@pytest.mark.parametrize("budget", [0, -3, True])
def test_a_budget_is_positive(budget):
    with pytest.raises(dfkd.DfkdError, match="`queries`"):
        meter(Fake(), budget)


@given(st.binary(max_size=300))
def test_whatever_bytes_come_are_one_line(content):
    with pytest.raises(dfkd.DfkdError) as raised:
        unpacked(content, "probs")
    assert len(str(raised.value)) < 200


def test_an_array_is_not_made_before_its_size_is_known():
    values = packed("probs", np.zeros((4, 4), "f4"))
    assert unpacked(values, "probs").shape == (4, 4)
    assert unpacked(packed("probs", np.asfortranarray(np.eye(3)[:2])), "probs").tolist()[1][1] == 1
    huge = values.replace(b"(4, 4)", b"(9999999999, 9999999999)"[:6].ljust(6))
    for content, most in ((values, 10), (huge, 1 << 40)):
        with pytest.raises(dfkd.DfkdError):
            unpacked(content, "probs", most)
    with pytest.raises(dfkd.DfkdError, match="no numbers"):
        unpacked(packed("probs", np.array(["x"])), "probs")
    with pytest.raises(dfkd.DfkdError, match="without probs"):
        unpacked(values.replace(b"probs", b"prods"), "probs")


def test_a_local_teacher_shows_no_more_than_it_is_told_to():
    teacher = make_teacher()
    seen = dfkd.load_teacher("bundled:digits_vgg", access="top1", queries=3)
    assert not seen.layers
    assert not seen.differentiable
    assert not list(seen.network.parameters())
    with pytest.raises(dfkd.DfkdError, match="only answers are seen"):
        seen.require_statistics("fast")
    with pytest.raises(QueriesSpentError):
        seen(torch.rand(3, 1, 8, 8))
    endpoint = LocalEndpoint(teacher, "top1")
    found = endpoint.ask("", np.zeros((2, 4, 4, 1), "u1"))
    assert found.values.tolist() == [0, 0] or len(found.values) == 2
    with pytest.raises(dfkd.DfkdError, match="say which are seen"):
        dfkd.load_teacher("bundled:digits_vgg", queries=3)
    with pytest.raises(dfkd.DfkdError, match="`access` is logits, probs, top1"):
        dfkd.load_teacher("bundled:digits_vgg", access="prob")


def test_evaluation_asks_about_each_image_once_and_attacks_nobody():
    data = dfkd.load_data("bundled:digits_vgg")
    teacher = dfkd.load_teacher("bundled:digits_vgg", access="probs")
    (row,) = dfkd.evaluate(teacher, data)
    assert row.accuracy > 0.99
    assert teacher.meter.endpoint.count() <= len(data) + 1  # the trial; equal images cost one
    with pytest.raises(dfkd.DfkdError, match="accuracy under attack follows"):
        dfkd.evaluate(teacher, data, epsilon=0.1)
