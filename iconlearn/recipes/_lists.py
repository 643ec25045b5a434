"""Rows with candidates of their own: margins over triples and pairs, given negatives, links of both kinds."""

from __future__ import annotations

from ..estimators import ICONClustering, ICONEmbedding, Term
from ..learned import Cluster, Cosine, NarrowGaussian, Student
from ..supervisory import KNN, CannotLink, Choices, MustLink, Pairs, Triplets
from ._recipe import recipe

LISTS = {"p": "Given candidates", "data": "lists", "estimator": "ICONEmbedding"}


@recipe(
    "Triplet margin", q="Gaussian, σ → 0", mapper="network", **LISTS,
    formula="loss -> mean over triples of max(0, d(anchor, positive) - d(anchor, negative) + margin)",
    paper="Weinberger and Saul, JMLR 2009; Schroff, Kalenichenko and Philbin, CVPR 2015",
    verified="torch's TripletMarginLoss",
)  # fmt: skip
def triplet_margin(triples, margin=1.0, distance="euclidean", n_components=64):
    q = NarrowGaussian(margin, sphere=False, distance=distance)
    return ICONEmbedding(n_components, p=Triplets(triples), q=q, mapper="mlp")


@recipe(
    "Siamese network", q="Gaussian, σ → 0", mapper="network", **LISTS,
    formula="loss -> mean over pairs of d + margin where they are alike, max(0, margin - d) where not",
    paper="Bromley et al., NeurIPS 1993; Hadsell, Chopra and LeCun, CVPR 2006",
    verified="torch's HingeEmbeddingLoss",
)  # fmt: skip
def siamese(pairs, alike, margin=1.0, distance="euclidean", n_components=64):
    q = NarrowGaussian(margin, sphere=False, distance=distance)
    return ICONEmbedding(n_components, p=Pairs(pairs, alike), q=q, mapper="mlp")


@recipe(
    "t-STE", q="Student-t", **LISTS,
    formula="p = 1 on the positive of each triple, q ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2) over positive and "
    "negative",
    paper="van der Maaten and Weinberger, MLSP 2012",
    verified="a logistic loss of the two log kernels in torch",
)  # fmt: skip
def t_ste(triples, dof=1.0, n_components=2):
    return ICONEmbedding(n_components, p=Triplets(triples), q=Student(dof))


@recipe(
    "Given negatives", q="Gaussian", mapper="network", **LISTS,
    formula="p = 1 on the first candidate of a list, q ∝ exp(cos(z_i, z_j) / τ) over the list",
    paper="Karpukhin et al., EMNLP 2020; van den Oord, Li and Vinyals, 2018",
    verified="torch's cross-entropy over each list",
)  # fmt: skip
def given_negatives(candidates, anchors=None, temperature=0.1, n_components=64):
    p = Choices(candidates, anchors=anchors)
    return ICONEmbedding(n_components, p=p, q=Cosine(temperature), mapper="mlp")


@recipe(
    "Constrained clustering", q="Uniform on clusters", p="Given candidates", data="lists", estimator="ICONClustering",
    formula="k-NN clustering; p = 1 on the null of the list (one apart, null); p = 1/k on what belongs together",
    paper="Wagstaff, Cardie, Rogers and Schroedl, ICML 2001",
    verified="the sums over all pairs and lists in float64",
)  # fmt: skip
def constrained_clustering(apart, together=None, n_clusters=8, n_neighbors=15, weight=0.5):
    terms = [Term(CannotLink(apart), weight=weight)]
    if together is not None:
        terms.append(Term(MustLink(together), weight=weight))
    return ICONClustering(n_clusters, p=KNN(n_neighbors), q=Cluster(), terms=terms)
