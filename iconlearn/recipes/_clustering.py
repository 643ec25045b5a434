"""Clusters: k-means and its relatives, cuts and spectra, and the data's neighbourhoods read off clusters."""

from __future__ import annotations

from ..divergences import ReverseKL
from ..estimators import ICONClustering, Term
from ..learned import Cluster
from ..supervisory import KNN, Cut, Gaussian, Graph, Labels, Spectral, Student, Views, Walk
from ._recipe import recipe

CLUSTERS = {"q": "Uniform on clusters", "estimator": "ICONClustering"}
REVERSE = {"direction": "q to p", "divergence": "reverse KL", **CLUSTERS}
HEAD = {"mapper": "linear head", **CLUSTERS}


@recipe(
    "K-means", p="Gaussian", **REVERSE,
    formula="p ∝ exp(-|x_i - x_j|² / 2σ²), q = Σ_c r_ic r_jc / N_c; KL(q || p) without the entropy of q",
    paper="Lloyd 1982; Alshammari et al., ICLR 2025, theorem 13",
    verified="sklearn.cluster.KMeans: labels and inertia from the same start",
)  # fmt: skip
def k_means(n_clusters=8):
    p = Gaussian(sigma="scale", self_pairs=True)
    return ICONClustering(n_clusters, p=p, divergence=ReverseKL(entropy=0), init="k-means++", n_init=10)


@recipe(
    "Probabilistic k-means", p="Gaussian", **REVERSE,
    formula="as k-means, over soft assignments, by gradients",
    paper="Alshammari et al., ICLR 2025, proposition 2",
    verified="the soft inertia: its minimum is that of scikit-learn's KMeans",
)  # fmt: skip
def probabilistic_k_means(n_clusters=8):
    p = Gaussian(sigma="scale", self_pairs=True)
    return ICONClustering(
        n_clusters, p=p, divergence=ReverseKL(entropy=0), init="k-means++", n_init=10, engine="dense"
    )


@recipe(
    "K-means with entropy bonus", p="Gaussian", **REVERSE,
    formula="KL(q || p) = inertia / σ² - Σ_i H(q_i) + Σ_i log Z_i",
    paper="Alshammari et al., ICLR 2025, theorem 13",
    verified="the identity on the left, with the inertia from soft means",
)  # fmt: skip
def entropic_k_means(n_clusters=8, sigma="scale"):
    p = Gaussian(sigma=sigma, self_pairs=True)
    return ICONClustering(n_clusters, p=p, divergence=ReverseKL(), init="k-means++", n_init=10)


@recipe(
    "t-k-means", p="Student-t", gap=True, **REVERSE,
    formula="KL(q || p) = (dof + 1)/2 Σ q log(1 + |x_i - x_j|² / (dof σ²)) - Σ_i H(q_i) + constant",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="the identity on the left",
)  # fmt: skip
def t_k_means(n_clusters=8, dof=1.0, sigma="scale"):
    p = Student(dof=dof, sigma=sigma, self_pairs=True)
    return ICONClustering(n_clusters, p=p, divergence=ReverseKL(), init="k-means++", n_init=10)


@recipe(
    "Spectral clustering", p="Gaussian", **REVERSE,
    formula="k-means among the leading eigenvectors of the random walk on the k-NN graph",
    paper="Ng, Jordan and Weiss, NeurIPS 2001; Alshammari et al., ICLR 2025, corollary 4",
    verified="sklearn.cluster.SpectralClustering on the same affinity, and the walk's eigenvalues",
)  # fmt: skip
def spectral_clustering(n_clusters=8, n_neighbors=10):
    p = Spectral(KNN(n_neighbors), n_components="auto")
    return ICONClustering(n_clusters, p=p, divergence=ReverseKL(entropy=0), init="k-means++", n_init=10)


@recipe(
    "Normalised cuts", p="Graph", data="graph", **REVERSE,
    formula="p ∝ exp(β w_ij / d_j), q = Σ_c r_ic r_jc d_j / V_c; KL(q || p) = β (NCut - m) + constant",
    paper="Shi and Malik, PAMI 2000; Alshammari et al., ICLR 2025, theorem 14",
    verified="the identity on the left; the cut of scikit-learn's SpectralClustering",
)  # fmt: skip
def normalized_cuts(n_clusters=8, scale=100.0):
    p = Cut(Graph(mass="degree"), scale=scale)
    return ICONClustering(
        n_clusters,
        p=p,
        q=Cluster(degree_weighted=True, balance=1.0),
        divergence=ReverseKL(entropy=0),
        init="spectral",
        n_init=4,
    )


@recipe(
    "DCD", p="Uniform k-NN", **CLUSTERS,
    formula="p = 1/k on the k nearest, q = Σ_c r_ic r_jc / N_c",
    paper="Yang and Oja, ICML 2012",
    verified="the loss from full matrices in numpy; labels of the digits",
)  # fmt: skip
def dcd(n_clusters=8, n_neighbors=10):
    return ICONClustering(n_clusters, p=KNN(n_neighbors), q=Cluster())


@recipe(
    "Mutual-information clustering", p="Uniform k-NN", **HEAD,
    formula="-log q(j|i) = log N - PMI(i, j), PMI = log Σ_c r_ic r_jc / π_c",
    paper="Adaloglou, Michels, Kalisch and Kollmann, BMVC 2023; Alshammari et al., ICLR 2025, theorem 15",
    verified="log N less the pointwise mutual information, in torch",
)  # fmt: skip
def pmi_clustering(n_clusters=8, n_neighbors=3):
    return ICONClustering(n_clusters, p=KNN(n_neighbors), q=Cluster(), mapper="linear")


@recipe(
    "InfoNCE clustering", p="Positive pairs", **HEAD,
    formula="p: other views of the row, and its k-NN; q = Σ_c r_ic r_jc / N_c",
    paper="Alshammari et al., ICLR 2025",
    verified="directly written torch: both terms on the same views",
)  # fmt: skip
def infonce_clustering(n_clusters=8, n_neighbors=3, augment="noise", strength=0.2):
    return ICONClustering(
        n_clusters,
        p=Views(augment, strength=strength),
        q=Cluster(),
        mapper="linear",
        terms=[Term(KNN(n_neighbors))],
    )


@recipe(
    "Debiased InfoNCE clustering", p="Positive pairs", **HEAD,
    formula="p = (1 - α) (P + P² over k-NN) + α/n, q = (1 - α) Σ_c r_ic r_jc / N_c + α/n",
    paper="Alshammari et al., ICLR 2025",
    verified="the loss from full matrices in numpy; the bound log(n / α)",
)  # fmt: skip
def debiased_infonce_clustering(n_clusters=8, n_neighbors=3, walk_length=2, alpha=0.6):
    p = Walk(KNN(n_neighbors), walk_length)
    return ICONClustering(n_clusters, p=p, q=Cluster(), mapper="linear", debias=alpha)


@recipe(
    "Supervised clustering", p="Classes", data="labelled", gap=True, **CLUSTERS,
    formula="p = 1 / K on the rows of the same class, q = Σ_c r_ic r_jc / N_c",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="its optimum: the classes themselves, at no loss",
)  # fmt: skip
def supervised_clustering(n_clusters=8, unlabeled=None):
    p = Labels(self_pairs=True, unlabeled=unlabeled)
    return ICONClustering(n_clusters, p=p, q=Cluster(balance=1.0))
