"""What steps cost, measured: ``dfkd bench step|distill|methods|patches|scaling``."""

from dfkd.bench.distill import bench_distill
from dfkd.bench.methods import bench_methods
from dfkd.bench.patches import bench_patches
from dfkd.bench.scaling import bench_scaling
from dfkd.bench.step import bench_step

__all__ = ["bench_distill", "bench_methods", "bench_patches", "bench_scaling", "bench_step"]
