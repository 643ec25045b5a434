"""Maps over several processes: neighbours, p, and steps are those of one process with all rows."""

import numpy as np
import pytest
from scipy.sparse import vstack
from sklearn.datasets import load_digits

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.distributed import Alone, current, shards
from iconlearn.engines import Mesh
from iconlearn.neighbors import _shards, graph_of_all, neighbor_graph
from iconlearn.supervisory import Gaussian, Graph, Symmetrize

X = load_digits().data
CUTS = {2: [0, 900, 1797], 3: [0, 300, 1250, 1797]}
FEW = {2: [0, 350, 600], 3: [0, 100, 380, 600]}


def own(rank, size, cuts=CUTS):
    return X[cuts[size][rank] : cuts[size][rank + 1]]


def neighbors_of_own(most, metric="euclidean"):
    _shards.MAX_EXACT, before = most, _shards.MAX_EXACT
    try:
        with shards(timeout=60) as group:
            return graph_of_all(group, own(group.rank, group.size), 10, metric=metric, random_state=0)
    finally:
        _shards.MAX_EXACT = before


def test_neighbors_of_all_rows(two, three):
    whole = neighbor_graph(X, 10, backend="exact")
    found = vstack(three.results(neighbors_of_own, 10_000))
    np.testing.assert_allclose(found.data, whole.data)  # ties may have other numbers
    assert (found.indices == whole.indices).mean() > 0.999
    # Where cells decide which processes are asked.
    near = vstack(two.results(neighbors_of_own, 100))
    recall = np.mean([len(np.intersect1d(near[[i]].indices, whole[[i]].indices)) / 10 for i in range(len(X))])
    assert 0.98 <= recall < 1
    assert np.allclose(np.sort(near.data.reshape(-1, 10), axis=1), near.data.reshape(-1, 10))
    cosine = vstack(two.results(neighbors_of_own, 10_000, "cosine"))
    np.testing.assert_allclose(cosine.data, neighbor_graph(X, 10, metric="cosine").data, atol=1e-12)


def fitted(parameters, rows):
    return ICONEmbedding(engine=Mesh(), random_state=0, **parameters).fit(rows)


def map_of_own(parameters):
    with shards(timeout=60) as group:
        model = fitted(parameters, own(group.rank, group.size, FEW))
        return {
            "embedding": model.embedding_,
            "history": model.loss_history_,
            "entropy": model.entropy_,
            "perplexities": np.exp(model.p_.conditional_.mean_entropy()),
            "traffic": dict(group.traffic),
        }


JOINT = {"p": Symmetrize(Gaussian(perplexity=15)), "q": "student", "max_iter": 40}


def test_a_map_over_processes(two, three):
    from iconlearn.learned import Student

    for group, parameters in ((three, {"max_iter": 30}), (two, JOINT | {"q": Student(normalize="joint")})):
        whole = fitted(parameters, X[:600])
        parts = group.results(map_of_own, parameters)
        for part in parts:
            np.testing.assert_allclose(part["history"][0], whole.loss_history_[0], rtol=1e-5)
            np.testing.assert_allclose(part["history"], whole.loss_history_, rtol=1e-3)
            np.testing.assert_allclose(part["entropy"], whole.entropy_, rtol=1e-9)
            print(part["history"] / whole.loss_history_ - 1, part["traffic"])
        places = np.vstack([part["embedding"] for part in parts])
        print(np.abs(places - whole.embedding_).max(0), whole.embedding_.std(0))
