"""The bounded divergences across the table: clusters, supervised contrast and maps by TV, JSD and Hellinger."""

from __future__ import annotations

from ..divergences import Hellinger, JensenShannon, TotalVariation
from ..estimators import ICONClustering, ICONEmbedding
from ..learned import Cluster, Cosine, Gaussian
from ..supervisory import KNN, Labels
from ..supervisory import Gaussian as GaussianP
from ._recipe import recipe

BOUNDED = {
    "tv": ("total variation", TotalVariation),
    "jsd": ("Jensen-Shannon", JensenShannon),
    "hellinger": ("squared Hellinger", Hellinger),
}
PAPER = "Beyond I-Con, arXiv 2509.04734"
VERIFIED = "the divergence written out over full matrices in numpy"


def _rows(short, title, kind):
    common = {"divergence": title, "paper": PAPER, "verified": VERIFIED, "gap": True}

    @recipe(
        f"SNE by {title}", key=f"sne_{short}", p="Gaussian", q="Gaussian", estimator="ICONEmbedding",
        formula="p ∝ exp(-|x_i - x_j|² / 2σ_i²), q ∝ exp(-|z_i - z_j|²)", **common,
    )  # fmt: skip
    def sne(perplexity=30.0, n_components=2):
        # From a point, a bounded divergence has no slope: the start is as wide as the kernel.
        return ICONEmbedding(
            n_components, p=GaussianP(perplexity), q=Gaussian(0.5**0.5), divergence=kind(), optimizer="adam"
        )

    @recipe(
        f"SupCon by {title}", key=f"supcon_{short}", p="Classes", q="Gaussian", estimator="ICONEmbedding",
        mapper="network", data="labelled",
        formula="p = 1/(K - 1) on the class mates, q ∝ exp(cos(z_i, z_j) / τ)", **common,
    )  # fmt: skip
    def supcon(temperature=0.1, n_components=64, unlabeled=None):
        p = Labels(unlabeled=unlabeled)
        return ICONEmbedding(n_components, p=p, q=Cosine(temperature), divergence=kind(), mapper="mlp")

    @recipe(
        f"Clustering by {title}", key=f"clustering_{short}", p="Uniform k-NN", q="Uniform on clusters",
        estimator="ICONClustering", formula="p = 1/k on the k nearest, q = (1 - α) Σ_c r_ic r_jc / N_c + α/n", **common,
    )  # fmt: skip
    def clustering(n_clusters=8, n_neighbors=10, alpha=0.1):
        return ICONClustering(n_clusters, p=KNN(n_neighbors), q=Cluster(), divergence=kind(), debias=alpha)


for _short, (_title, _kind) in BOUNDED.items():
    _rows(_short, _title, _kind)


@recipe(
    "SupCon by Jensen-Shannon of distances", p="Classes", q="Gaussian", estimator="ICONEmbedding", mapper="network",
    data="labelled", divergence="Jensen-Shannon", verified=VERIFIED,
    formula="p = 1/(K - 1) on the class mates, q ∝ exp(-|z_i - z_j|² / 2σ²), z on no sphere",
    paper="Beyond I-Con, arXiv 2509.04734, second version",
)  # fmt: skip
def supcon_jsd_distance(sigma=1.0, n_components=64, unlabeled=None):
    return ICONEmbedding(
        n_components,
        p=Labels(unlabeled=unlabeled),
        q=Gaussian(sigma),
        divergence=JensenShannon(),
        mapper="mlp",
    )
