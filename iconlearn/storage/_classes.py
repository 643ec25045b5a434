"""Which classes a file may name: the package's own, and components that were registered with it.

Files hold the names of this table, and a class is called by them there and nowhere else.  A class that moves keeps its
name: only the line that imports it here changes.  A name that was ever written stays readable: it is neither removed
nor given to another class.  A class that an estimator comes to keep needs a row, or `save` refuses it.
"""

from __future__ import annotations

from .. import divergences, engines, estimators, learned, mappers, supervisory, views
from ..classification._class_table import ClassTable
from ..classification._discriminant import Moments
from ..clusters import Hierarchy, MergePath
from ..conditional import BlockConditional, Conditional, ListConditional, WideConditional
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

__all__ = ["CLASSES", "class_of", "name_of"]

CLASSES: dict[str, type] = {
    # Estimators, and what they keep.
    "estimators.ICONClassifier": estimators.ICONClassifier,
    "estimators.ICONClustering": estimators.ICONClustering,
    "estimators.ICONEmbedding": estimators.ICONEmbedding,
    "estimators.Term": estimators.Term,
    "estimators.Hierarchy": Hierarchy,
    "estimators.Known": ClassTable,
    "estimators.MergePath": MergePath,
    "estimators.Moments": Moments,
    "neighbors.KnownRows": KnownRows,
    "neighbors.ParametricMetric": ParametricMetric,
    "optim.Solution": Solution,
    # p, and what its rows are made of.
    "supervisory.Ahead": supervisory.Ahead,
    "supervisory.CannotLink": supervisory.CannotLink,
    "supervisory.Choices": supervisory.Choices,
    "supervisory.Classes": supervisory.Classes,
    "supervisory.Companion": supervisory.Companion,
    "supervisory.Cooccurrence": supervisory.Cooccurrence,
    "supervisory.Cut": supervisory.Cut,
    "supervisory.Debias": supervisory.Debias,
    "supervisory.Gaussian": supervisory.Gaussian,
    "supervisory.Graph": supervisory.Graph,
    "supervisory.HuffmanTree": HuffmanTree,
    "supervisory.Identity": supervisory.Identity,
    "supervisory.KNN": supervisory.KNN,
    "supervisory.Labels": supervisory.Labels,
    "supervisory.Mix": supervisory.Mix,
    "supervisory.MustLink": supervisory.MustLink,
    "supervisory.Paired": supervisory.Paired,
    "supervisory.Pairs": supervisory.Pairs,
    "supervisory.Precomputed": supervisory.Precomputed,
    "supervisory.Predictions": supervisory.Predictions,
    "supervisory.Pretext": supervisory.Pretext,
    "supervisory.LocalRadius": supervisory.LocalRadius,
    "supervisory.Restore": supervisory.Restore,
    "supervisory.Spectral": supervisory.Spectral,
    "supervisory.Student": supervisory.Student,
    "supervisory.SymmetricEntropic": supervisory.SymmetricEntropic,
    "supervisory.Symmetrize": supervisory.Symmetrize,
    "supervisory.Triplets": supervisory.Triplets,
    "supervisory.Views": supervisory.Views,
    "supervisory.Walk": supervisory.Walk,
    "supervisory.WideGaussian": supervisory.WideGaussian,
    "supervisory.CutBlock": CutBlock,
    "supervisory.KernelBlock": KernelBlock,
    "supervisory.KernelRecipe": KernelRecipe,
    "supervisory.LabelBlock": LabelBlock,
    "supervisory.MixedBlock": MixedBlock,
    "supervisory.SquaredDistances": SquaredDistances,
    "supervisory.SymmetrizedBlock": SymmetrizedBlock,
    "calibration.GaussianKernel": GaussianKernel,
    "calibration.StudentKernel": StudentKernel,
    "conditional.BlockConditional": BlockConditional,
    "conditional.Conditional": Conditional,
    "conditional.ListConditional": ListConditional,
    "conditional.WideConditional": WideConditional,
    # q.
    "learned.BallRadius": learned.BallRadius,
    "learned.Cluster": learned.Cluster,
    "learned.Cosine": learned.Cosine,
    "learned.Custom": learned.Custom,
    "learned.Dot": learned.Dot,
    "learned.Gaussian": learned.Gaussian,
    "learned.Hyperbolic": learned.Hyperbolic,
    "learned.InversePower": learned.InversePower,
    "learned.NarrowGaussian": learned.NarrowGaussian,
    "learned.Student": learned.Student,
    "learned.WideGaussian": learned.WideGaussian,
    # Divergences.
    "divergences.FDivergence": divergences.FDivergence,
    "divergences.Hellinger": divergences.Hellinger,
    "divergences.JensenShannon": divergences.JensenShannon,
    "divergences.KL": divergences.KL,
    "divergences.ReverseKL": divergences.ReverseKL,
    "divergences.TotalVariation": divergences.TotalVariation,
    # Mappers; the layers that they make have names in `_modules`.
    "mappers.Autoencoder": mappers.Autoencoder,
    "mappers.Contractive": mappers.Contractive,
    "mappers.ConvAutoencoder": mappers.ConvAutoencoder,
    "mappers.EMA": mappers.EMA,
    "mappers.Headed": mappers.Headed,
    "mappers.L1": mappers.L1,
    "mappers.Linear": mappers.Linear,
    "mappers.MLP": mappers.MLP,
    "mappers.PatchPairs": mappers.PatchPairs,
    "mappers.Prior": mappers.Prior,
    "mappers.Projected": mappers.Projected,
    "mappers.Recurrent": mappers.Recurrent,
    "mappers.Residual": mappers.Residual,
    "mappers.Sparse": mappers.Sparse,
    "mappers.Table": mappers.Table,
    # Engines, and what they leave behind.
    "engines.Closed": engines.Closed,
    "engines.Dense": engines.Dense,
    "engines.Mesh": engines.Mesh,
    "engines.MiniBatch": engines.MiniBatch,
    "engines.Partition": engines.Partition,
    "engines.Sampled": engines.Sampled,
    "engines.LogNormaliser": LogNormaliser,
    # Views of images.
    "views.Composition": views.Composition,
    "views.ImageView": views.ImageView,
    "views.Tiles": views.Tiles,
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
