"""Maps over several processes: neighbours, p, and steps are those of one process with all rows."""

import numpy as np
from scipy.sparse import vstack
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding
from iconlearn.distributed import shards
from iconlearn.engines import Mesh
from iconlearn.learned import Student
from iconlearn.neighbors import _shards, graph_of_all, neighbor_graph
from iconlearn.out_of_sample._placed import Placer
from iconlearn.supervisory import Gaussian, Symmetrize

X = load_digits().data
CUTS = {2: [0, 900, 1797], 3: [0, 300, 1250, 1797]}
FEW = {2: [0, 650, 1100], 3: [0, 200, 680, 1100]}


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


def map_of_own(parameters, new):
    with shards(timeout=60) as group:
        rows = own(group.rank, group.size, FEW)
        model = fitted(parameters, rows)
        new = new[group.rank :: group.size]
        return {
            "embedding": model.embedding_,
            "seen": (model.transform(rows), model.transform(X[:3])),
            "placed": model.transform(new),
            "history": model.loss_history_,
            "entropy": model.entropy_,
            "traffic": dict(group.traffic),
        }


JOINT = {"p": Symmetrize(Gaussian(perplexity=15)), "q": Student(normalize="joint"), "max_iter": 30}


def test_a_map_over_processes(two, three):
    """By row, with rows that relocate, and t-SNE."""
    new = X[1200:1220]
    for group, parameters in ((three, {"max_iter": 110}), (two, JOINT)):
        whole = fitted(parameters, X[:1100])
        parts = group.results(map_of_own, parameters, new)
        for part in parts:
            np.testing.assert_allclose(part["history"][0], whole.loss_history_[0], rtol=1e-5)
            np.testing.assert_allclose(part["history"][:20], whole.loss_history_[:20], rtol=1e-4)
            np.testing.assert_allclose(part["history"], whole.loss_history_, rtol=0.01)
            np.testing.assert_array_equal(part["history"], parts[0]["history"])
            np.testing.assert_allclose(part["entropy"], whole.entropy_, rtol=1e-9)
            np.testing.assert_array_equal(part["seen"][0], part["embedding"])
            np.testing.assert_array_equal(part["seen"][1], parts[0]["embedding"][:3])
            print(part["history"] / whole.loss_history_ - 1, part["traffic"])
        places = np.vstack([part["embedding"] for part in parts])
        print(np.abs(places - whole.embedding_).max(0), whole.embedding_.std(0))
        again = Placer(whole.q_, whole.divergence_, places)(whole.p_.extend(new))
        placed = np.empty_like(again)
        for rank, part in enumerate(parts):
            placed[rank :: group.size] = part["placed"]
        np.testing.assert_allclose(placed, again, atol=1e-4)
