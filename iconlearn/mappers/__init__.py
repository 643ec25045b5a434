"""Mappers: how a row gets its place.

z_i = table[i]            z_i = W x_i + b            z_i = any torch.nn.Module (x_i)
"""

from __future__ import annotations

from ._autoencoder import Autoencoder, AutoencoderModule, ConvAutoencoder, made_again
from ._base import (
    EMA,
    MLP,
    Follower,
    Linear,
    Mapper,
    OrthonormalModule,
    Table,
    TableModule,
    Target,
    UnitVectors,
    build_mapper,
    declares,
    draws,
    given,
)
from ._costs import L1, Contractive, Prior, Sparse

__all__ = [
    "EMA",
    "L1",
    "MLP",
    "Autoencoder",
    "ConvAutoencoder",
    "Contractive",
    "Linear",
    "Mapper",
    "Prior",
    "Sparse",
    "Table",
    "build_mapper",
    "declares",
    "draws",
    "given",
]
