"""Maps: SNE and its family, graph layouts, principal components, metric scaling."""

from __future__ import annotations

from ..estimators import ICONEmbedding, Term
from ..learned import BallRadius, Gaussian, Hyperbolic, Student, WideGaussian
from ..mappers import Linear
from ..supervisory import KNN, Graph, Identity, LocalRadius, Restore, SymmetricEntropic, Symmetrize
from ..supervisory import Gaussian as GaussianP
from ..supervisory import Student as StudentP
from ..supervisory import WideGaussian as WideGaussianP
from ._recipe import recipe

MAP = {"estimator": "ICONEmbedding"}
# exp(-|u - v|^2), as SNE writes it.
SNE_SIGMA = 0.5**0.5


@recipe(
    "SNE", p="Gaussian", q="Gaussian", **MAP,
    formula="p ∝ exp(-|x_i - x_j|² / 2σ_i²), q ∝ exp(-|z_i - z_j|²)",
    paper="Hinton and Roweis, NeurIPS 2002",
    verified="the loss and gradient of a directly written torch SNE at the same perplexity",
)  # fmt: skip
def sne(perplexity=30.0, n_components=2):
    return ICONEmbedding(n_components, p=GaussianP(perplexity), q=Gaussian(SNE_SIGMA))


@recipe(
    "t-SNE", p="Gaussian", q="Student-t", **MAP,
    formula="p_ij ∝ m_i p(j|i) + m_j p(i|j), q_ij ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2) over all pairs",
    paper="van der Maaten and Hinton, JMLR 2008",
    verified="loss and gradient of scikit-learn's _kl_divergence; openTSNE's where it is installed",
)  # fmt: skip
def tsne(perplexity=30.0, n_components=2, dof=1.0):
    q = Student(dof, normalize="joint")
    return ICONEmbedding(n_components, p=Symmetrize(GaussianP(perplexity)), q=q)


@recipe(
    "t-SNE, by rows", p="Gaussian", q="Student-t", **MAP,
    formula="p ∝ exp(-|x_i - x_j|² / 2σ_i²), q ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2), each row by itself",
    paper="Alshammari et al., ICLR 2025, corollary 1",
    verified="a directly written torch loss; the joint form where p is doubly stochastic",
)  # fmt: skip
def row_tsne(perplexity=30.0, n_components=2, dof=1.0):
    return ICONEmbedding(n_components, p=GaussianP(perplexity), q=Student(dof))


ENTROPIC = {
    "paper": "Van Assel et al., NeurIPS 2023",
    "verified": "the conditions of the optimum solved for the dual of p; q by Sinkhorn's iteration in numpy, its loss, "
    "gradient and optimum (by scipy)",
}


@recipe(
    "SNEkhorn", p="Gaussian", q="Gaussian", **MAP, **ENTROPIC,
    formula="p = exp((λ_i + λ_j - 2|x_i - x_j|²) / (γ_i + γ_j)), doubly stochastic, every row of the same perplexity; "
    "q = exp(f_i + f_j - |z_i - z_j|²), doubly stochastic",
)  # fmt: skip
def snekhorn(perplexity=30.0, n_components=2):
    q = Gaussian(SNE_SIGMA, normalize="doubly")
    return ICONEmbedding(n_components, p=SymmetricEntropic(perplexity), q=q)


@recipe(
    "t-SNEkhorn", p="Gaussian", q="Student-t", **MAP, **ENTROPIC,
    formula="p = exp((λ_i + λ_j - 2|x_i - x_j|²) / (γ_i + γ_j)), doubly stochastic, every row of the same perplexity; "
    "q = exp(f_i + f_j) (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2), doubly stochastic",
)  # fmt: skip
def tsnekhorn(perplexity=30.0, n_components=2, dof=1.0):
    return ICONEmbedding(n_components, p=SymmetricEntropic(perplexity), q=Student(dof, normalize="doubly"))


@recipe(
    "CO-SNE", p="Gaussian", q="Student-t, hyperbolic", **MAP,
    formula="p_ij ∝ m_i p(j|i) + m_j p(i|j), q_ij ∝ (1 + ρ_ij² / γ²)^-1 over all pairs, "
    "ρ_ij = arcosh(1 + 2|z_i - z_j|² / ((1 - |z_i|²)(1 - |z_j|²))), |z_i| < 1; + weight (|x_i|² - |z_i|²)² by choice",
    paper="Guo, Guo and Yu, CVPR 2022",
    verified="distances by arcosh in many digits; the joint loss over full matrices, its gradient by differences; the "
    "term for norms written out",
)  # fmt: skip
def cosne(perplexity=30.0, n_components=2, gamma=1.0, metric="euclidean", norm_weight=0.0):
    p, q = Symmetrize(GaussianP(perplexity, metric=metric)), Hyperbolic(gamma, normalize="joint")
    # Without a weight there is no such term, and X need not lie in the ball.
    norms = [Term(Restore("squared_length"), BallRadius(), "kl", norm_weight)] if norm_weight != 0 else None
    return ICONEmbedding(n_components, p=p, q=q, terms=norms)


@recipe(
    "SNE with uniform affinities", p="Uniform k-NN", q="Gaussian", **MAP,
    formula="p = 1/k on the k nearest, q ∝ exp(-|z_i - z_j|²)",
    paper="Böhm, Berens and Kobak, JMLR 2022",
    verified="a directly written torch loss over scikit-learn's neighbour graph",
)  # fmt: skip
def sne_uniform(n_neighbors=15, n_components=2):
    return ICONEmbedding(n_components, p=KNN(n_neighbors), q=Gaussian(SNE_SIGMA))


@recipe(
    "t-SNE with uniform affinities", p="Uniform k-NN", q="Student-t", **MAP,
    formula="p = 1/k on the k nearest, q ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2)",
    paper="Böhm, Berens and Kobak, JMLR 2022",
    verified="a directly written torch loss over scikit-learn's neighbour graph",
)  # fmt: skip
def tsne_uniform(n_neighbors=15, n_components=2, dof=1.0):
    return ICONEmbedding(n_components, p=KNN(n_neighbors), q=Student(dof))


@recipe(
    "Dual t-SNE", p="Student-t", q="Gaussian", gap=True, **MAP,
    formula="p ∝ (1 + |x_i - x_j|² / γ²)^-1, q ∝ exp(-|z_i - z_j|²)",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="a directly written torch loss",
)  # fmt: skip
def dual_tsne(gamma="scale", n_components=2):
    return ICONEmbedding(n_components, p=StudentP(sigma=gamma), q=Gaussian(SNE_SIGMA))


@recipe(
    "Doubly t-SNE", p="Student-t", q="Student-t", gap=True, **MAP,
    formula="p ∝ (1 + |x_i - x_j|² / γ²)^-1, q ∝ (1 + |z_i - z_j|²)^-1",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="a directly written torch loss",
)  # fmt: skip
def doubly_tsne(gamma="scale", n_components=2, dof=1.0):
    return ICONEmbedding(n_components, p=StudentP(sigma=gamma), q=Student(dof))


@recipe(
    "SNE graph embedding", p="Graph", q="Gaussian", data="graph", gap=True, **MAP,
    formula="p = w_ij / Σ_k w_ik, q ∝ exp(-|z_i - z_j|²)",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="a directly written torch loss",
)  # fmt: skip
def sne_graph(n_components=2):
    return ICONEmbedding(n_components, p=Graph(), q=Gaussian(SNE_SIGMA))


@recipe(
    "t-SNE graph embedding", p="Graph", q="Student-t", data="graph", **MAP,
    formula="p = w_ij / Σ_k w_ik, q ∝ (1 + |z_i - z_j|²)^-1",
    paper="Kruiger et al., Computer Graphics Forum 2017",
    verified="a directly written torch loss",
)  # fmt: skip
def tsne_graph(n_components=2, dof=1.0):
    return ICONEmbedding(n_components, p=Graph(), q=Student(dof))


@recipe(
    "PCA", p="Identity", q="Gaussian, σ → ∞", mapper="orthonormal linear", **MAP,
    formula="loss -> -2 Var(W x), W Wᵀ = 1",
    paper="Pearson 1901; Alshammari et al., ICLR 2025, theorem 2",
    verified="sklearn.decomposition.PCA: the subspace and the explained variance",
)  # fmt: skip
def pca(n_components=2):
    return ICONEmbedding(
        n_components, p=Identity(), q=WideGaussian(sphere=False), mapper=Linear(orthonormal=True)
    )


@recipe(
    "t-SNE and metric scaling", p="Gaussian", q="Student-t", **MAP,
    formula="t-SNE's divergence + weight Σ_ij [(D_ij - mean_k D_ik) - (d_ij - mean_k d_ik)]² / 2n² of squares, in "
    "units of the size of the map: two Gaussians, σ → ∞",
    paper='"DREAMS", arXiv 2508.13747, 2025 (its form with metric scaling)',
    verified="t-SNE's loss and the row-centred stress, written out over full matrices",
)  # fmt: skip
def dreams(perplexity=30.0, n_components=2, global_weight=100.0):
    wide = Term(WideGaussianP(spread="map"), WideGaussian(sphere=False), weight=global_weight)
    return ICONEmbedding(
        n_components, p=Symmetrize(GaussianP(perplexity)), q=Student(normalize="joint"), terms=[wide]
    )


@recipe(
    "t-SNE with local radii", p="Gaussian", q="Student-t", **MAP,
    formula="t-SNE's divergence + weight Σ_i (log r_i² - log r'_i²)² / 2n, r_i² the mean squared distance to the k "
    "nearest rows, r'_i² that of the same in the map up to a factor for all: p = 1 on log r_i², q = N(log r'_i², 1)",
    paper="after den-SNE (Narayan, Berger and Cho, Nature Biotechnology 2021), which maximises their correlation",
    verified="t-SNE's loss and the squared differences of logarithms, written out over full matrices",
)  # fmt: skip
def density_tsne(perplexity=30.0, n_components=2, density_weight=0.1, n_neighbors=15):
    radii = Term(LocalRadius(n_neighbors), Gaussian(normalize="space"), weight=density_weight)
    return ICONEmbedding(
        n_components, p=Symmetrize(GaussianP(perplexity)), q=Student(normalize="joint"), terms=[radii]
    )


@recipe(
    "Metric MDS", p="Gaussian, σ → ∞", q="Gaussian, σ → ∞", **MAP,
    formula="loss -> 1/(2n) Σ_j [(D_ij - mean_k D_ik) - (d_ij - mean_k d_ik)]²",
    paper="Kruskal, Psychometrika 1964; Alshammari et al., ICLR 2025, appendix F",
    verified="wide finite Gaussians on both sides, and a directly written float64 L-BFGS",
)  # fmt: skip
def metric_mds(n_components=2, metric="euclidean"):
    q = WideGaussian(sphere=False)
    return ICONEmbedding(n_components, p=WideGaussianP(metric=metric), q=q, optimizer="lbfgs")
