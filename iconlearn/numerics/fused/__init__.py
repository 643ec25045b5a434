"""Kernels of a step in Triton, for CUDA; the only package that imports it.

Each does what many operations of torch do, which serve everywhere else and say what is right: the values agree but for
rounding.  No sum depends on which program comes first: what many programs add to one place they add as whole numbers.
Nothing waits for the host and all sizes are fixed, so that a step can be recorded as a graph.
"""

from __future__ import annotations

from ._mesh import mesh_loss
from ._steps import keep_better, momentum_step

__all__ = ["keep_better", "mesh_loss", "momentum_step"]
