"""What steps cost, measured: ``dfkd bench step`` and ``dfkd bench distill``."""

from dfkd.bench.distill import bench_distill
from dfkd.bench.step import bench_step

__all__ = ["bench_distill", "bench_step"]
