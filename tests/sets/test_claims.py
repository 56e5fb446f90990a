"""Claims: one holder at a time, and none for ever."""

import os
import subprocess
import sys
import threading
import time

from dfkd.sets.claims import Claims, Halted, share_work, tidy


def test_one_of_many_holds_a_shard_and_it_is_free_afterwards(tmp_path):
    held, together = [], threading.Barrier(8)

    def compete() -> None:
        claims = Claims(tmp_path)
        together.wait()
        with claims.holding(3) as mine:
            held.append(mine)
            together.wait()

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == [False] * 7 + [True]
    with Claims(tmp_path).holding(3) as mine:
        assert mine
    assert not list(tmp_path.iterdir())


def test_the_claim_of_a_dead_process_is_free_at_once(tmp_path):
    script = (
        "import os, sys; from dfkd.sets.claims import Claims\n"
        "with Claims(__import__('pathlib').Path(sys.argv[1])).holding(0): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / "00000.claim").exists()
    claims = Claims(tmp_path, stale=1e9)
    with claims.holding(0) as mine:
        assert not mine  # found stale, and taken away
    with claims.holding(0) as mine:
        assert mine


def test_another_machines_claim_lasts_as_long_as_it_is_touched(tmp_path):
    path = tmp_path / "00000.claim"
    path.write_text("elsewhere 12345 678 token")
    claims = Claims(tmp_path, stale=100.0)
    with claims.holding(0) as mine:
        assert not mine
    assert path.exists()
    old = time.time() - 101
    os.utime(path, (old, old))
    with claims.holding(0):
        pass
    with claims.holding(0) as mine:
        assert mine


def test_a_holder_gives_signs_of_life(tmp_path):
    with Claims(tmp_path, stale=0.4).holding(0) as mine:
        assert mine
        os.utime(tmp_path / "00000.claim", (0, 0))
        time.sleep(0.3)
        assert (tmp_path / "00000.claim").stat().st_mtime > 1e9


def test_a_claim_that_another_has_taken_over_is_left_to_it(tmp_path):
    with Claims(tmp_path).holding(0):
        (tmp_path / "00000.claim").write_text("elsewhere 1 2 other")
    assert (tmp_path / "00000.claim").read_text().endswith("other")


def test_many_share_the_work_and_none_is_done_twice(tmp_path):
    made, gate = [], threading.Barrier(4)

    def work() -> None:
        claims = Claims(tmp_path / "work")
        gate.wait()
        left = share_work(claims, lambda: sorted(set(range(20)) - set(made)), made.append, [False])
        assert left[1]

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(20))
    tidy(Claims(tmp_path / "work"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_who_waits_for_others_rests(tmp_path, monkeypatch):
    looks, rests = [], []
    monkeypatch.setattr("dfkd.sets.claims.time.sleep", rests.append)

    def missing() -> list[int]:
        looks.append(0)
        return [0] if len(looks) < 4 else []

    with Claims(tmp_path).holding(0):
        assert share_work(Claims(tmp_path), missing, lambda _: None, [False]) == (0, True)
    assert len(rests) == 3


def test_a_halt_ends_the_work_and_frees_the_claim(tmp_path):
    def halted(_: int) -> None:
        raise Halted

    assert share_work(Claims(tmp_path), lambda: [0], halted, [False]) == (0, False)
    assert share_work(Claims(tmp_path), lambda: [0], halted, [True]) == (0, False)
    assert not list(tmp_path.iterdir())
