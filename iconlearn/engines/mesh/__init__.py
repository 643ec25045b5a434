"""Row sums of radial kernels on a grid: the engine, its fields, and near pairs for what a coarse grid leaves out."""

from __future__ import annotations

from ._frozen import frozen_field
from ._mesh import Mesh

__all__ = ["Mesh", "frozen_field"]
