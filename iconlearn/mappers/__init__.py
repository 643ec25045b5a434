"""Mappers: how a row gets its place.

z_i = table[i]            z_i = W x_i + b            z_i = any torch.nn.Module (x_i)
"""

from __future__ import annotations

from ._autoencoder import Autoencoder, ConvAutoencoder
from ._base import EMA, MLP, Linear, Mapper, Table, build_mapper, declares, draws, given
from ._base import TableModule as TableModule
from ._base import Target as Target
from ._base import UnitVectors as UnitVectors
from ._base import images_read_by as images_read_by
from ._base import is_frozen as is_frozen
from ._base import rates_of as rates_of
from ._costs import L1, Contractive, Prior, Sparse
from ._parts import Headed, PatchPairs, Projected, Residual
from ._recurrent import Recurrent

__all__ = [
    "EMA",
    "L1",
    "MLP",
    "Autoencoder",
    "ConvAutoencoder",
    "Contractive",
    "Headed",
    "Linear",
    "Mapper",
    "PatchPairs",
    "Prior",
    "Projected",
    "Recurrent",
    "Residual",
    "Sparse",
    "Table",
    "build_mapper",
    "declares",
    "draws",
    "given",
]
