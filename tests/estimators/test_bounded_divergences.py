"""Where the uniform share goes: on q alone where the divergence would take a share of p for what p says."""

import numpy as np
import pytest
from reference import DIVERGENCES
from sklearn.datasets import make_blobs

from iconlearn import ICONClustering
from iconlearn.divergences import FDivergence
from iconlearn.learned import Cluster
from iconlearn.metrics import clustering_accuracy
from iconlearn.supervisory import KNN, Debias

N, K, SHARE = 300, 10, 0.6
X, Y = make_blobs(N, centers=K, n_features=8, cluster_std=0.5, random_state=0)
P = KNN(3).fit(X).conditional_.sparse().toarray()
BOUNDED = {
    "jensen_shannon": "JensenShannon",
    "hellinger": "Hellinger",
    "total_variation": "TotalVariation",
}


def losses(divergence, of_p, of_q):
    """The loss of the true clusters, and of a single one, from full matrices."""
    same = (Y[:, None] == Y).astype(float)
    for Q in (same / same.sum(axis=1, keepdims=True), np.full((N, N), 1 / N)):
        Q = (1 - of_q) * Q + of_q / N
        yield DIVERGENCES[divergence](((1 - of_p) * P + of_p / N) / N, Q / N)


@pytest.mark.parametrize(
    ("divergence", "spreads"), [("JensenShannon", True), ("Hellinger", True), ("KL", False)]
)
def test_a_share_of_p_makes_a_single_cluster_the_best(divergence, spreads):
    right, single = losses(divergence, SHARE, SHARE)
    assert (single < right) == spreads
    right, single = losses(divergence, 0.0, SHARE)
    assert right < single


def clusters(divergence, **options):
    options = {"p": KNN(3), "debias": SHARE, "init": Y, "max_iter": 120, "random_state": 0, **options}
    return ICONClustering(K, divergence=divergence, **options).fit(X)


@pytest.mark.parametrize("mapper", ["table", "linear"])
@pytest.mark.parametrize("divergence", BOUNDED)
def test_right_clusters_stay(divergence, mapper):
    model = clusters(divergence, mapper=mapper)
    assert clustering_accuracy(Y, model.labels_) > 0.99
    # Certain of them, and not on the way to none.
    assert model.probabilities_.max(axis=1).mean() > 0.95
    right = next(losses(BOUNDED[divergence], 0.0, SHARE))
    assert model.loss_ == pytest.approx(right, rel=0.01)


@pytest.mark.parametrize("divergence", ["jensen_shannon", "hellinger"])
def test_a_share_of_p_that_is_asked_for_is_given(divergence):
    model = clusters(divergence, p=Debias(KNN(3), SHARE), mapper="linear")
    assert model.p_.conditional_.uniform == SHARE
    assert model.probabilities_.max(axis=1).mean() < 0.8


@pytest.mark.parametrize(
    ("divergence", "of_p"),
    [
        ("kl", SHARE), ("reverse_kl", SHARE), ("jensen_shannon", 0.0), ("hellinger", 0.0), ("total_variation", 0.0),
        (FDivergence(lambda t: (t - 1) ** 2), 0.0),
    ],
)  # fmt: skip
def test_which_divergence_shares_p(divergence, of_p):
    model = clusters(divergence, max_iter=2)
    assert model.p_.conditional_.uniform == of_p and model.q_.debias == SHARE
    kept = clusters(divergence, max_iter=2, q=Cluster(debias=0.1))
    assert kept.p_.conditional_.uniform == of_p and kept.q_.debias == 0.1
