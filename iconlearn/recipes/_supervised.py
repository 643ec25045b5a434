"""Labels and words: supervised contrast, classifiers, and the prediction of tokens."""

from __future__ import annotations

from ..divergences import TotalVariation
from ..estimators import ICONClassifier, ICONEmbedding
from ..learned import Cosine, Dot, InversePower, NarrowGaussian, Student, WideGaussian
from ..mappers import MLP, Linear
from ..supervisory import KNN, Classes, Cooccurrence, Labels
from ._recipe import recipe

MATES = {"p": "Classes", "data": "labelled", "estimator": "ICONEmbedding", "mapper": "network"}
CLASSES = {"p": "Data-label pairs", "data": "labelled", "estimator": "ICONClassifier", "mapper": "linear"}
WORDS = {"p": "Co-occurrence", "q": "Gaussian", "data": "tokens", "estimator": "ICONEmbedding"}


@recipe(
    "SupCon", q="Gaussian", **MATES,
    formula="p = 1/(K - 1) on the class mates, q ∝ exp(cos(z_i, z_j) / τ)",
    paper="Khosla et al., NeurIPS 2020",
    verified="a directly written SupCon loss (the outer mean) in torch",
)  # fmt: skip
def supcon(temperature=0.1, n_components=64, unlabeled=None):
    return ICONEmbedding(n_components, p=Labels(unlabeled=unlabeled), q=Cosine(temperature), mapper="mlp")


@recipe(
    "t-SupCon", q="Student-t", gap=True, **MATES,
    formula="p = 1/(K - 1) on the class mates, q ∝ (1 + |z_i - z_j|² / dof)^(-(dof + 1) / 2)",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="directly written torch",
)  # fmt: skip
def t_supcon(dof=1.0, n_components=64, unlabeled=None):
    return ICONEmbedding(n_components, p=Labels(unlabeled=unlabeled), q=Student(dof), mapper="mlp")


@recipe(
    "Average-margin SupCon", q="Gaussian, σ → ∞", gap=True, **MATES,
    formula="loss -> mean over mates of d - 2 Var(z), z on the sphere",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="the means by hand; wide finite Gaussians",
)  # fmt: skip
def average_margin_supcon(n_components=64, unlabeled=None):
    return ICONEmbedding(n_components, p=Labels(unlabeled=unlabeled), q=WideGaussian(), mapper="mlp")


@recipe(
    "Triplet SupCon", q="Gaussian, σ → 0", gap=True, **MATES,
    formula="loss -> mean over mates of d - min_k (d_ik - margin [other class])",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="the hardest negative by hand; narrow finite Gaussians",
)  # fmt: skip
def triplet_supcon(margin=0.5, n_components=64, unlabeled=None):
    return ICONEmbedding(n_components, p=Labels(unlabeled=unlabeled), q=NarrowGaussian(margin), mapper="mlp")


@recipe(
    "Cross-entropy", q="Gaussian", **CLASSES,
    formula="p = 1 on the row's class, q ∝ exp(w_c . x_i + b_c)",
    paper="Cox 1958; Alshammari et al., ICLR 2025, theorem 9",
    verified="sklearn.linear_model.LogisticRegression: coefficients at equal C",
)  # fmt: skip
def cross_entropy(C=1.0, tol=1e-7, max_iter="auto"):
    return ICONClassifier(p=Classes(), q=Dot(), C=C, tol=tol, max_iter=max_iter)


@recipe(
    "Label smoothing", q="Gaussian", **CLASSES,
    formula="p = (1 - α) [c = y_i] + α / C, q as cross-entropy",
    paper="Szegedy et al., CVPR 2016",
    verified="torch.nn.CrossEntropyLoss(label_smoothing=)",
)  # fmt: skip
def label_smoothing(alpha=0.1, C=1.0):
    return ICONClassifier(p=Classes(), q=Dot(), C=C, debias=alpha)


@recipe(
    "Harmonic loss", q="Student-t", **CLASSES,
    formula="q ∝ |z_i - w_c|^-n, the limit of (1 + d / ((n - 1) σ²))^(-n/2)",
    paper="Baek et al., 2025",
    verified="its definition in torch; a Student-t of almost no width",
)  # fmt: skip
def harmonic(n=2.0, C=None, n_components="auto"):
    return ICONClassifier(p=Classes(), q=InversePower(n), C=C, n_components=n_components)


@recipe(
    "Error rate", q="Gaussian, σ → 0", divergence="total variation", gap=True, **CLASSES,
    formula="loss = mean of 1 - q(y_i | i), q ∝ exp(z_ic / τ); τ falls in phases -> share of rows whose class is "
    "not the nearest",
    paper="Alshammari et al., ICLR 2025, figure 1",
    verified="one less the accuracy at a temperature near zero",
)  # fmt: skip
def error_rate(temperature=1.0, final_temperature=0.01, C=None):
    q = Dot(temperature, final_temperature=final_temperature)
    return ICONClassifier(p=Classes(), q=q, divergence=TotalVariation(), C=C, optimizer="adam")


@recipe(
    "Label propagation by clusters", q="Uniform on clusters", p="Uniform k-NN", data="few labels",
    estimator="ICONClassifier", gap=True,
    formula="p = 1/k on the k nearest, q = Σ_c r_ic r_jc / s_c, r held at the labels where there are any",
    paper="Zhu, Ghahramani and Lafferty, ICML 2003 (the start); Alshammari et al., ICLR 2025 (the loss)",
    verified="the loss over all pairs in float64",
)  # fmt: skip
def held_labels(n_neighbors="auto", graph_weight=10.0):
    graph = KNN(n_neighbors)
    return ICONClassifier(
        p=Classes(), q=Dot(), mapper="table", graph=graph, graph_weight=graph_weight, unlabeled=-1
    )


@recipe(
    "Masked-token prediction", mapper="network", **WORDS,
    formula="p = 1 on the hidden token, q ∝ exp(f(context) . v_c), the context a bag or, ordered, words in places",
    paper="Devlin et al., NAACL 2019; Alshammari et al., ICLR 2025, theorem 11",
    verified="torch's cross-entropy over the vocabulary",
)  # fmt: skip
def masked_token(window=5, n_components=64, min_count=1, hidden=(128,), ordered=False):
    p = Cooccurrence(window, mode="masked" if ordered else "cbow", min_count=min_count, dynamic=False)
    return ICONEmbedding(n_components, p=p, q=Dot(), mapper=MLP(hidden))


@recipe(
    "Skip-gram", **WORDS,
    formula="p(c|w) ∝ counts in a window / f_c^discount, q ∝ exp(u_w . v_c); output='tree': q(c|w) = Π σ(± u_w . v_n) "
    "over the path to c; output='negative': of (w, c) against noise, q = σ(u_w . v_c)",
    paper="Mikolov et al., NeurIPS 2013; Levy and Goldberg, NeurIPS 2014; Morin and Bengio, AISTATS 2005 (tree)",
    verified="the cross-entropy of hand-made counts; torch's BCE (negative); the product over the path (tree); word "
    "similarity beside gensim where it is installed",
)  # fmt: skip
def skip_gram(
    window=5, n_components=64, min_count=1, subsample=1e-3, discount=0.75, output="softmax", n_negatives=5
):
    # The discount is the power by which word2vec draws negatives, and what its vectors have taken off.
    p = Cooccurrence(
        window, min_count=min_count, subsample=subsample, discount=discount, output=output,
        n_negatives=n_negatives,
    )  # fmt: skip
    return ICONEmbedding(n_components, p=p, q=Dot(), init="random", optimizer="adam")


@recipe(
    "CBOW", mapper="linear", **WORDS,
    formula="p = 1 on the word in the middle, q ∝ exp(mean of u over the context . v_c); outputs as for skip-gram",
    paper="Mikolov et al., 2013",
    verified="torch's cross-entropy over hand-made bags; torch's BCE (negative); the product over the path (tree)",
)  # fmt: skip
def cbow(window=5, n_components=64, min_count=1, subsample=1e-3, output="softmax", n_negatives=5):
    p = Cooccurrence(
        window, mode="cbow", min_count=min_count, subsample=subsample, output=output, n_negatives=n_negatives,
        discount=0.75 if output == "negative" else 0.0,
    )  # fmt: skip
    return ICONEmbedding(
        n_components, p=p, q=Dot(), mapper=Linear(bias=False), init="random", optimizer="adam"
    )
