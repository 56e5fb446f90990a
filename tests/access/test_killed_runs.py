"""Whole runs against a server process, killed and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from support.api_server import serving
from support.commands import STUDENT, TEACHER, dfkd

BUDGET = 700


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_servers_account(tmp_path):
    run = tmp_path / "run"
    with serving(TEACHER, "probs") as server:
        words = ["distill", server.url, STUDENT, "--queries", BUDGET, "--steps", 60, "--out", run]
        words += ["--checkpoint-every", 0.2, "--method", "drawings"]
        words += ["--set", "alternation.batch_size=16"]
        # The request after a few others is counted, and its answer never comes.
        server.fail(*[""] * 30, "503", "lost", "hang")
        command = [sys.executable, "-m", "dfkd", *map(str, words)]
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        until = time.monotonic() + 200
        while not (run / "checkpoint" / "last.pt").exists():
            assert time.monotonic() < until
            time.sleep(0.2)
        while (before := server.count()) != (time.sleep(3) or server.count()):
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 0 < before < BUDGET
        server.fail("reset", "503")
        done = dfkd(*words, "--resume")
        assert done.returncode in (0, 3), done.stderr
        account = json.loads((run / "result.json").read_text())["queries"]
        assert server.count() == account["counted_in_ledger"] == account["counted"] <= BUDGET
        assert sum(account["asked"].values()) == account["counted"]
        assert account["in_doubt"] == 0
        again = dfkd(*words, "--overwrite")
        assert again.returncode in (0, 3), again.stderr
        assert server.count() == account["counted"]  # the same images cost nothing
        assert json.loads((run / "result.json").read_text())["queries"]["counted"] == 0
