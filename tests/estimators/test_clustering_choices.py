"""Every divergence, p and head that a clustering may be made of finds clouds that lie apart."""

import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering
from iconlearn.supervisory import KNN, Debias, Gaussian, Student, Symmetrize, Walk

X, Y = make_blobs(90, centers=[[0, 0], [9, 0], [0, 9]], random_state=0)
X = (X - 3) / 3
P = {
    "knn": KNN(8),
    "gaussian": Gaussian(8),
    "student": Student(n_neighbors=10),
    "walk": Walk(KNN(6), 2),
    "union": Symmetrize(KNN(6), "union"),
    "debiased": Debias(KNN(8), 0.1),
}


def found(**options):
    model = ICONClustering(3, n_init=2, max_iter=30, random_state=0, **options).fit(X)
    return adjusted_rand_score(Y, model.labels_), adjusted_rand_score(Y, model.predict(X + 0.01))


DIVERGENCES, MAPPERS = ["kl", "total_variation", "jensen_shannon", "hellinger"], ["table", "linear", "mlp"]


# Each with each: a share is part of q, which sees what the mapper gives and not how.
@pytest.mark.parametrize(
    ("divergence", "mapper", "debias"),
    [
        (divergence, mapper, 0.3 * ((row + column) % 2))
        for row, divergence in enumerate(DIVERGENCES)
        for column, mapper in enumerate(MAPPERS)
    ],
)
def test_divergences(divergence, mapper, debias):
    assert min(found(divergence=divergence, mapper=mapper, debias=debias)) > 0.95


@pytest.mark.parametrize("mapper", ["table", "linear"])
@pytest.mark.parametrize("name", P)
def test_every_p(name, mapper):
    assert min(found(p=P[name], mapper=mapper)) > 0.95
