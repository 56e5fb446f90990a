"""The outer loop, with stand-ins that only count: budgets, rhythm, interruption, resume."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dfkd.errors import DfkdError
from dfkd.protocols import Batch
from dfkd.training.budget import Alternation, Budget, RunProgress
from dfkd.training.engine import Engine


@pytest.fixture
def clock(monkeypatch):
    """A clock that only ``time.sleep`` moves: a busy machine changes nothing."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


class CountingSynthesizer:
    def __init__(self, seconds=0.0):
        self.seconds, self.order, self.images_made, self.teacher_images = seconds, [], 0, 0

    def update(self, student):
        time.sleep(self.seconds)
        self.order.append("synthesize")
        return {"synthesis/loss": torch.tensor(1.0)}

    def sample(self, count):
        self.images_made += count
        return Batch(torch.zeros(count, 1, 4, 4))

    def state_dict(self):
        return {"images_made": self.images_made}

    def load_state_dict(self, state):
        self.images_made = state["images_made"]


class CountingDistiller:
    def __init__(self, order, seconds=0.0):
        self.order, self.seconds, self.progress = order, seconds, []
        self.student, self.teacher_images = nn.Linear(1, 1), 0

    def set_progress(self, progress):
        self.progress.append(progress)

    def update(self, batch):
        time.sleep(self.seconds)
        self.order.append("distill")
        return {"distillation/kl": torch.tensor(2.0)}

    def finished(self):
        return self.student

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def make(budget, alternation, **options):
    synthesizer = CountingSynthesizer(options.pop("synthesis_seconds", 0.0))
    distiller = CountingDistiller(synthesizer.order, options.pop("distillation_seconds", 0.0))
    return Engine(synthesizer, distiller, budget, alternation, **options)


def test_rhythm_alternates_as_written():
    engine = make(Budget(steps=4), Alternation(warmup_updates=2, steps_per_update=2))
    assert engine.run()
    s, d = "synthesize", "distill"
    assert engine.synthesizer.order == [s, s, d, d, s, d, d]


@pytest.mark.usefixtures("clock")
def test_a_process_goes_by_the_clock_that_all_share():
    """The first writes down what its clock says; another, thrice as slow, does as it did."""
    told, options = [], {"synthesis_seconds": 0.5, "distillation_seconds": 0.1}
    alternation = Alternation(warmup_updates=2, steps_per_update=3)

    def tell(value):
        told.append(value)
        return value

    first = make(Budget(minutes=0.05), alternation, **options, shared=tell)
    assert first.run()
    slow = {name: 3 * seconds for name, seconds in options.items()}
    heard = iter(told)
    second = make(Budget(minutes=0.05), alternation, **slow, shared=lambda _: next(heard))
    assert second.run()
    assert second.synthesizer.order == first.synthesizer.order
    assert second.distiller.progress == first.distiller.progress
    assert next(heard, None) is None
    alone = make(Budget(minutes=0.05), alternation, **slow)
    alone.run()
    assert alone.synthesizer.order != first.synthesizer.order


def test_progress_spans_a_budget_in_steps():
    engine = make(Budget(steps=5), Alternation())
    engine.run()
    assert engine.distiller.progress == [0, 0.2, 0.4, 0.6, 0.8, 1]  # at last that it has ended


def test_minutes_end_on_time_and_spare_the_last_update(clock):
    engine = make(
        Budget(minutes=1 / 60),
        Alternation(steps_per_update=1),
        synthesis_seconds=0.3,
        distillation_seconds=0.01,
    )
    start = time.perf_counter()
    engine.run()
    elapsed = time.perf_counter() - start
    assert 1.0 <= elapsed < 1.3
    assert engine.synthesizer.order[-1] == "distill"
    assert engine.distiller.progress == sorted(engine.distiller.progress)


def test_a_warmup_that_was_cut_short_does_not_end_synthesis(clock):
    alternation = Alternation(warmup_updates=10**6, warmup_share=0.2, steps_per_update=3)
    seconds = {"synthesis_seconds": 0.02, "distillation_seconds": 0.01}
    engine = make(Budget(minutes=1 / 60), alternation, **seconds)
    engine.run()
    assert engine.account.warmup_updates < engine.account.updates < 10**6


def test_warmup_takes_no_more_than_its_share_of_minutes(clock):
    seconds = {"synthesis_seconds": 0.05, "distillation_seconds": 0.01}
    engine = make(Budget(minutes=1 / 60), Alternation(warmup_updates=10**6), **seconds)
    engine.run()
    assert engine.account.synthesis_seconds < 0.7
    assert engine.account.steps > 0


def test_accounts_apart_and_together():
    engine = make(
        Budget(steps=5),
        Alternation(warmup_updates=3),
        synthesis_seconds=0.02,
        distillation_seconds=0.01,
    )
    engine.run()
    account = engine.account
    assert account.synthesis_seconds >= 0.06
    assert account.distillation_seconds >= 0.05
    assert account.seconds >= account.synthesis_seconds + account.distillation_seconds


def test_first_interruption_finishes_the_step_and_saves():
    saved = []
    engine = make(
        Budget(minutes=5), Alternation(), distillation_seconds=0.01, save=lambda: saved.append(1)
    )
    engine._report_every, engine._report = 0.0, lambda *_: os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    assert engine.run() is False
    assert saved == [1]
    assert engine.account.steps == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_resumed_time_counts():
    engine = make(Budget(steps=1), Alternation())
    engine.run()
    state = engine.state_dict()
    state["account"]["earlier_seconds"] = 100.0
    again = make(Budget(minutes=1.0), Alternation())
    again.load_state_dict(state)
    assert again.account.seconds >= 100
    assert again.run()
    assert again.account.steps == 1


@pytest.mark.parametrize(("here", "calls"), [("meta", ["set to 7"]), ("cpu", [])])
def test_the_generator_of_the_students_device_goes_on_as_well(here, calls, monkeypatch):
    found = []
    device = SimpleNamespace(
        get_rng_state=lambda: 7, set_rng_state=lambda state: found.append(state)
    )
    monkeypatch.setattr(torch, "get_device_module", lambda kind: device)
    engine, again = (make(Budget(steps=1), Alternation()) for _ in range(2))
    engine.distiller.student.to("meta")
    again.distiller.student.to(here)
    again.load_state_dict(engine.state_dict())
    assert [f"set to {state}" for state in found] == calls


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_impossible_budgets_are_refused(value):
    with pytest.raises(DfkdError, match="positive"):
        Budget(minutes=value)
    with pytest.raises(DfkdError):
        Budget(minutes=1, steps=1)
    with pytest.raises(DfkdError):
        Budget()


def test_a_new_account_has_spent_nothing():
    assert RunProgress().steps == 0
    assert RunProgress().seconds < 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_diverged_is_an_error(value):
    engine = make(Budget(steps=3), Alternation(warmup_updates=1))
    engine.synthesizer.update = lambda student: {"synthesis/loss": torch.tensor(value)}
    with pytest.raises(DfkdError, match=r"synthesis/loss is (nan|inf) at step 3"):
        engine.run()


class LongSynthesizer(CountingSynthesizer):
    """Its update is made of ten passes of a teacher, who is watched."""

    def __init__(self, seconds, passes=10):
        super().__init__(seconds)
        self.passes, self.done, self.pulse = passes, 0, lambda: None

    def update(self, student):
        self.images_made += 1
        for _ in range(self.passes):
            self.pulse()
            time.sleep(self.seconds)
            self.done += 1
        self.order.append("synthesize")
        return {}

    def state_dict(self):
        return {"images_made": self.images_made, "done": self.done}

    def load_state_dict(self, state):
        self.images_made, self.done = state["images_made"], state["done"]


def long_engine(seconds=1.0, minutes=1.0, **options):
    synthesizer = LongSynthesizer(seconds)
    distiller = CountingDistiller(synthesizer.order, 0.5)
    alternation = Alternation(warmup_updates=1, warmup_share=0.1, steps_per_update=10)
    engine = Engine(synthesizer, distiller, Budget(minutes), alternation, **options)
    synthesizer.pulse = engine.pulse
    return engine, synthesizer


def test_an_update_shows_how_far_it_is(clock):
    shown = []
    engine, synthesizer = long_engine(report=lambda *told: shown.append(synthesizer.done % 10))
    engine.run()
    assert {done for done in shown if done} >= {2, 4, 6, 8}


def test_an_update_ends_with_the_budget(clock):
    """Of updates that outlast it none is counted, and what they changed is put back."""
    engine, synthesizer = long_engine(seconds=20.0)
    assert engine.run()
    assert engine.account.seconds == pytest.approx(60)
    assert (engine.account.steps, engine.account.updates, synthesizer.images_made) == (0, 0, 0)


def test_an_interrupted_update_leaves_the_state_before_it(clock):
    saved = []
    engine, synthesizer = long_engine(save=lambda: saved.append(engine.state_dict()))
    synthesizer.pulse = lambda: (
        os.kill(os.getpid(), signal.SIGINT) if synthesizer.done == 14 else None,
        engine.pulse(),
    )
    assert not engine.run()
    state = saved[-1]["synthesizer"]
    assert state == {"images_made": 1 + 10 * 128, "done": 10}  # a batch of 128 each of ten steps
    assert saved[-1]["account"]["updates"] == 1


def test_the_first_step_waits_for_no_second_update_beyond_its_share(clock):
    """One update there always is; the next must fit into the warm-up's share of the budget."""
    engine, synthesizer = long_engine(seconds=0.4)
    engine.alternation = Alternation(warmup_updates=8, warmup_share=0.1, steps_per_update=1000)
    engine.run()
    assert synthesizer.order[:2] == ["synthesize", "distill"]


def test_outside_of_an_update_a_pulse_is_nothing(clock):
    engine, _ = long_engine()
    engine.pulse()


def test_what_the_warm_up_had_no_time_for_comes_with_the_first_steps(clock):
    engine, synthesizer = long_engine(seconds=0.4, minutes=4.0)
    engine.alternation = Alternation(warmup_updates=5, warmup_share=0.01, steps_per_update=80)
    engine.run()
    first = synthesizer.order[:60]
    assert first[:2] == ["synthesize", "distill"]
    assert first.count("synthesize") == 5
    later = synthesizer.order[60:]
    assert later.count("synthesize") in (engine.account.steps // 80 - 1, engine.account.steps // 80)
