"""Pages in a real browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")


def browse(tmp_path: Path, url: Path, *options: str) -> str:
    """What headless Chromium prints when it opens a file, with a profile of its own."""
    profile = tmp_path / f"profile{len(list(tmp_path.glob('profile*')))}"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--hide-scrollbars", f"--user-data-dir={profile}", *options,
        url.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout
