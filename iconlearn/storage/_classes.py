"""Which classes a file may name: the package's own, and components that were registered with it.

Files hold the names of this table, and a class is called by them there and nowhere else.  A class that moves keeps its
name: only the line that imports it here changes.  A name that was ever written stays readable: it is neither removed
nor given to another class.  A class that an estimator comes to keep needs a row, or `save` refuses it.
"""

from __future__ import annotations

from .. import conditional, divergences, engines, estimators, learned, mappers, supervisory, views
from ..classification._class_table import ClassTable
from ..classification._discriminant import Moments
from ..clusters import Hierarchy, MergePath
from ..engines._closed import LogNormaliser
from ..neighbors import KnownRows, ParametricMetric
from ..optim import Solution
from ..registry import COMPONENTS
from ..supervisory._composition import MixedBlock, SymmetrizedBlock
from ..supervisory.labels._classes import LabelBlock
from ..supervisory.neighborhoods._calibration import GaussianKernel, StudentKernel
from ..supervisory.neighborhoods._kernel import KernelBlock, KernelRecipe
from ..supervisory.neighborhoods._spectral import CutBlock
from ..supervisory.neighborhoods._wide import SquaredDistances
from ..supervisory.sequences._huffman import HuffmanTree


def _of(room, names):
    """Classes of a room under their own names."""
    return {f"{room.__name__.partition('.')[2]}.{name}": getattr(room, name) for name in names.split()}


CLASSES: dict[str, type] = {
    # Estimators, and what they keep.
    **_of(estimators, "ICONClassifier ICONClustering ICONEmbedding Term"),
    "estimators.Hierarchy": Hierarchy,
    "estimators.Known": ClassTable,
    "estimators.MergePath": MergePath,
    "estimators.Moments": Moments,
    "neighbors.KnownRows": KnownRows,
    "neighbors.ParametricMetric": ParametricMetric,
    "optim.Solution": Solution,
    # p, and what its rows are made of.
    **_of(
        supervisory,
        "Ahead CannotLink Choices Classes Companion Cooccurrence Cut Debias Gaussian Graph Identity KNN Labels "
        "LocalRadius Mix MustLink Paired Pairs Precomputed Predictions Pretext Restore Spectral Student "
        "SymmetricEntropic Symmetrize Triplets Views Walk WideGaussian",
    ),
    "supervisory.CutBlock": CutBlock,
    "supervisory.HuffmanTree": HuffmanTree,
    "supervisory.KernelBlock": KernelBlock,
    "supervisory.KernelRecipe": KernelRecipe,
    "supervisory.LabelBlock": LabelBlock,
    "supervisory.MixedBlock": MixedBlock,
    "supervisory.SquaredDistances": SquaredDistances,
    "supervisory.SymmetrizedBlock": SymmetrizedBlock,
    "calibration.GaussianKernel": GaussianKernel,
    "calibration.StudentKernel": StudentKernel,
    **_of(conditional, "BlockConditional Conditional ListConditional ShardConditional WideConditional"),
    # q, and divergences.
    **_of(
        learned,
        "BallRadius Cluster Cosine Custom Dot Gaussian Hyperbolic InversePower NarrowGaussian Student WideGaussian",
    ),
    **_of(divergences, "FDivergence Hellinger JensenShannon KL ReverseKL TotalVariation"),
    # Mappers; the layers that they make have names in `_modules`.
    **_of(
        mappers,
        "Autoencoder Contractive ConvAutoencoder EMA Headed L1 Linear MLP PatchPairs Prior Projected Recurrent "
        "Residual Sparse Table",
    ),
    # Engines, and what they leave behind.
    **_of(engines, "Closed Dense Mesh MiniBatch Partition Sampled"),
    "engines.LogNormaliser": LogNormaliser,
    **_of(views, "Composition ImageView Tiles"),
}
NAMES = {cls: name for name, cls in CLASSES.items()}


def name_of(cls) -> str | None:
    """What a file calls a class; None for one that it may not name."""
    return NAMES.get(cls) or next((name for name, known in _registered().items() if known is cls), None)


def class_of(name: str):
    """The class that a file means; None for an unknown one."""
    return CLASSES.get(name) or _registered().get(name)


def _registered():
    """Components of others, by slot and registered name."""
    return {
        f"registry.{slot}.{name}": made
        for slot, known in COMPONENTS.items()
        for name, made in known.items()
        if isinstance(made, type) and made not in NAMES
    }
