"""Encoders: views of a row, companions of a row, and the same thing in two modalities."""

from __future__ import annotations

from ..engines import MiniBatch
from ..estimators import ICONEmbedding, Term
from ..learned import Cosine, NarrowGaussian, Student, WideGaussian
from ..mappers import EMA, Projected
from ..supervisory import KNN, Companion, Gaussian, Paired, Views
from ._recipe import recipe

ENCODER = {"estimator": "ICONEmbedding", "mapper": "network"}
VIEWS = {"p": "Positive pairs", **ENCODER}
CROSS = {"p": "Cross-modal pairs", "data": "halves", **ENCODER}


def under(head):
    """The mapper of an encoder: without a head its outputs are in the loss themselves."""
    return "mlp" if head is None else Projected(projector=head)


@recipe(
    "InfoNCE", q="Gaussian", **VIEWS,
    formula="p = 1/(k - 1) on the other views of the row, q ∝ exp(cos(z_i, z_j) / τ)",
    paper="van den Oord, Li and Vinyals, 2018",
    verified="directly written torch cross-entropies over the same views",
)  # fmt: skip
def infonce(temperature=0.1, n_components=64, n_views=4, augment="noise", strength=0.2, head=None):
    p = Views(augment, strength=strength, n_views=n_views)
    return ICONEmbedding(n_components, p=p, q=Cosine(temperature), mapper=under(head))


@recipe(
    "SimCLR", q="Gaussian", **VIEWS,
    formula="p = 1 on the other view of the row, q ∝ exp(cos(z_i, z_j) / τ)",
    paper="Chen et al., ICML 2020",
    verified="a directly written NT-Xent over the same views",
)  # fmt: skip
def simclr(temperature=0.5, n_components=64, augment="noise", strength=0.2, head=None):
    p = Views(augment, strength=strength)
    return ICONEmbedding(n_components, p=p, q=Cosine(temperature), mapper=under(head))


@recipe(
    "MoCo v3", q="Gaussian", **VIEWS,
    formula="p = 1 on the key of the same row, q ∝ exp(cos(z_i, key_j) / τ), keys from a moving average",
    paper="Chen, Xie and He, ICCV 2021",
    verified="a directly written InfoNCE with a teacher; the teacher's step by its formula",
)  # fmt: skip
def moco_v3(temperature=0.2, momentum=0.99, n_components=64, augment="noise", strength=0.2, head=None):
    p = Views(augment, strength=strength, cross=True)
    q, teacher = Cosine(temperature), EMA(momentum)
    return ICONEmbedding(n_components, p=p, q=q, mapper=under(head), column_mapper=teacher)


@recipe(
    "BYOL", **{**VIEWS, "q": "Density on the whole space"},
    formula="p = 1 on the target of the same row, q ∝ exp(cos(z_i, z'_j)) on the sphere: loss -> mean |z_i - z'_i|²",
    paper="Grill et al., NeurIPS 2020",
    verified="torch's squared error of unit vectors; the teacher's step by its formula, without the predictor",
)  # fmt: skip
def byol(
    momentum=0.996, n_components=64, projector=(128, 32), predictor=(128,), augment="noise", strength=0.2
):
    p = Views(augment, strength=strength, cross=True)
    q, mapper = Cosine(1.0, normalize="space"), Projected(projector=projector, predictor=predictor)
    # No row is compared with others, so that batches may be as small as steps are wanted.
    engine = MiniBatch(128)
    return ICONEmbedding(n_components, p=p, q=q, mapper=mapper, column_mapper=EMA(momentum), engine=engine)


@recipe(
    "t-SimCLR", q="Student-t", **VIEWS,
    formula="p = 1 on the other view of the row, q ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2)",
    paper="Hu et al., ICLR 2023",
    verified="directly written torch over the same views",
)  # fmt: skip
def t_simclr(dof=2.0, n_components=64, augment="noise", strength=0.2):
    return ICONEmbedding(n_components, p=Views(augment, strength=strength), q=Student(dof), mapper="mlp")


@recipe(
    "t-SimCNE", q="Student-t", **VIEWS,
    formula="t-SimCLR in two dimensions with one degree of freedom",
    paper="Böhm, Berens and Kobak, ICLR 2023",
    verified="directly written torch over the same views",
)  # fmt: skip
def t_simcne(n_components=2, augment="noise", strength=0.2):
    return ICONEmbedding(n_components, p=Views(augment, strength=strength), q=Student(), mapper="mlp")


@recipe(
    "VICReg without covariance", q="Gaussian, σ → ∞", **VIEWS,
    formula="loss -> mean |z_i - z_i'|² - 2 Var(z), z on the sphere",
    paper="Bardes, Ponce and LeCun, ICLR 2022; Alshammari et al., ICLR 2025, theorem 4",
    verified="invariance and variance by their definitions; wide finite Gaussians",
)  # fmt: skip
def vicreg(n_components=64, augment="noise", strength=0.2):
    return ICONEmbedding(n_components, p=Views(augment, strength=strength), q=WideGaussian(), mapper="mlp")


@recipe(
    "Triplet", q="Gaussian, σ → 0", **VIEWS,
    formula="loss -> max(0, d(i, i+) - min_k d(i, k) + margin), d squared",
    paper="Schroff, Kalenichenko and Philbin, CVPR 2015; Alshammari et al., ICLR 2025, theorem 5",
    verified="torch's triplet margin loss on two candidates; the hardest negative by hand; narrow finite Gaussians",
)  # fmt: skip
def triplet(margin=0.5, n_components=64, augment="noise", strength=0.2):
    p = Views(augment, strength=strength)
    return ICONEmbedding(n_components, p=p, q=NarrowGaussian(margin), mapper="mlp")


@recipe(
    "LGSimCLR", p="Uniform k-NN", q="Gaussian", data="halves", **ENCODER,
    formula="p = 1/k on the j that have i among their k nearest companions, q ∝ exp(cos(z_i, z_j) / τ)",
    paper="Banani, Desai and Johnson, CVPR 2023",
    verified="directly written torch over scikit-learn's neighbours of the companions",
)  # fmt: skip
def lgsimclr(split, n_neighbors=5, temperature=0.1, n_components=64):
    p = Companion(KNN(n_neighbors), split, unit=True, transpose=True)
    return ICONEmbedding(n_components, p=p, q=Cosine(temperature), mapper="mlp")


@recipe(
    "X-Sample contrastive", p="Gaussian", q="Gaussian", data="halves", **ENCODER,
    formula="p ∝ exp(cos(g_i, g_j) / τ_p), g the companions, q ∝ exp(cos(z_i, z_j) / τ)",
    paper="Sobal et al., ICLR 2025",
    verified="directly written torch with soft targets",
)  # fmt: skip
def x_sample(split, target_temperature=0.1, temperature=0.1, n_components=64):
    p = Companion(Gaussian(sigma=target_temperature**0.5), split, unit=True)
    return ICONEmbedding(n_components, p=p, q=Cosine(temperature), mapper="mlp")


def two_ways(split, q, n_components, mapper):
    """Both directions between two groups of features; the term's split is that of p."""
    return ICONEmbedding(
        n_components, p=Paired(split), q=q, mapper=mapper, terms=[Term(Paired(ends=(1, 0)))], optimizer="adam"
    )


@recipe(
    "CMC", q="Gaussian", **CROSS,
    formula="p = 1 on the same thing in the other view, q ∝ exp(cos(z_i, z'_j) / τ), both directions",
    paper="Tian, Krishnan and Isola, ECCV 2020",
    verified="directly written torch cross-entropies in both directions",
)  # fmt: skip
def cmc(split, temperature=0.1, n_components=64):
    return two_ways(split, Cosine(temperature), n_components, "mlp")


@recipe(
    "CLIP", q="Gaussian", **CROSS,
    formula="as CMC, with a learned τ",
    paper="Radford et al., ICML 2021",
    verified="directly written torch cross-entropies in both directions, the slope of τ too",
)  # fmt: skip
def clip(split, temperature=0.07, n_components=64):
    return two_ways(split, Cosine(temperature, learnable=True), n_components, "mlp")


@recipe(
    "t-CLIP", q="Student-t", gap=True, **CROSS,
    formula="p as CLIP, q ∝ (1 + |z_i - z'_j|² / dof)^(-(dof + 1) / 2)",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="directly written torch in both directions",
)  # fmt: skip
def t_clip(split, dof=1.0, n_components=64):
    return two_ways(split, Student(dof), n_components, "mlp")


@recipe(
    "Average-margin CLIP", q="Gaussian, σ → ∞", gap=True, **CROSS,
    formula="loss -> mean d(i, i') - mean d(i, k'), both directions",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="the means by hand; wide finite Gaussians",
)  # fmt: skip
def average_margin_clip(split, n_components=64):
    return two_ways(split, WideGaussian(), n_components, "mlp")


@recipe(
    "Triplet CLIP", q="Gaussian, σ → 0", gap=True, **CROSS,
    formula="loss -> max(0, d(i, i') - min_k d(i, k') + margin), both directions",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="the hardest negative by hand; narrow finite Gaussians",
)  # fmt: skip
def triplet_clip(split, margin=0.5, n_components=64):
    return two_ways(split, NarrowGaussian(margin), n_components, "mlp")
