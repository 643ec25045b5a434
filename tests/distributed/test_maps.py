"""Maps over several processes: neighbours, p, and steps are those of one process with all rows."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import vstack
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding, load, save
from iconlearn.distributed import shards
from iconlearn.engines import Mesh
from iconlearn.learned import Student
from iconlearn.neighbors import _search, _shards, graph_of_all, neighbor_graph, pair_distances
from iconlearn.out_of_sample._placed import Placer
from iconlearn.supervisory import KNN, Gaussian, Symmetrize

ON_THE_CPU = pytest.mark.cpu(
    reason="the processes of this folder compute on the CPU, as does the fit that they are compared with"
)

X = load_digits().data
CUTS = {2: [0, 900, 1797], 3: [0, 300, 1250, 1797]}
FEW = {2: [0, 650, 1100], 3: [0, 200, 680, 1100]}


def own(rank, size, cuts=CUTS):
    return X[cuts[size][rank] : cuts[size][rank + 1]]


def rows_of(graph):
    return graph.indices.reshape(-1, 10)


def neighbors_of_own(most, metric="euclidean"):
    """The graph, and for how many rows of all a process has looked at every one of its own."""
    before, block, search, exactly = _shards.MAX_EXACT, _shards.BLOCK, _shards.knn, []

    def counted(held, k, queries=None, **options):
        exactly.append(0 if queries is None else len(queries))
        return search(held, k, queries=queries, **options)

    _shards.MAX_EXACT = _search.MAX_EXACT = most
    _shards.BLOCK, _shards.knn, _shards.N_SAMPLE = 2**14, counted, 256  # several blocks
    try:
        with shards(timeout=60) as group:
            rows = own(group.rank, group.size)
            return graph_of_all(group, rows, 10, metric=metric, random_state=0), sum(exactly)
    finally:
        _shards.MAX_EXACT = _search.MAX_EXACT = before
        _shards.BLOCK, _shards.knn = block, search


def test_neighbors_of_all_rows(two, three):
    for group, metric in ((three, "euclidean"), (two, "cosine")):
        whole = neighbor_graph(X, 10, backend="exact", metric=metric)
        found = vstack([graph for graph, _ in group.results(neighbors_of_own, 10_000, metric)])
        np.testing.assert_allclose(found.data, whole.data, atol=1e-12)  # ties may have other numbers
        assert (found.indices == whole.indices).mean() > 0.999
    # Where cells decide which processes are asked, and where these look for an answer.
    for group, metric in ((two, "euclidean"), (three, "cosine")):
        parts = group.results(neighbors_of_own, 100, metric)
        near, exact = vstack([graph for graph, _ in parts]), neighbor_graph(X, 10, metric=metric)
        assert 0.98 <= np.mean([np.isin(*at).mean() for at in zip(rows_of(exact), rows_of(near))]) < 1
        assert np.allclose(np.sort(near.data.reshape(-1, 10), axis=1), near.data.reshape(-1, 10))
        distances = pair_distances(X, X, np.repeat(np.arange(len(X)), 10), near.indices, metric=metric)
        np.testing.assert_allclose(near.data, distances, atol=1e-12)
        assert {n_exact for _, n_exact in parts} == {-(-256 // group.size) * group.size}  # the sample


def fitted(parameters, rows):
    return ICONEmbedding(**{"engine": Mesh(), "random_state": 0} | parameters).fit(rows)


def read(model):
    """What a file of the model holds."""
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "map.icon")
        return load(Path(folder) / "map.icon")


def map_of_own(parameters, new):
    with shards(timeout=60) as group:
        rows = own(group.rank, group.size, FEW)
        model = fitted(parameters, rows)
        new = new[group.rank :: group.size]
        return {
            "embedding": model.embedding_,
            "seen": (model.transform(rows), model.transform(X[:3])),
            "placed": model.transform(new),
            "read": read(model).transform(new),
            "history": model.loss_history_,
            "entropy": model.entropy_,
            "traffic": dict(group.traffic),
        }


JOINT = {"p": Symmetrize(Gaussian(perplexity=15)), "q": Student(normalize="joint"), "max_iter": 23}


@ON_THE_CPU
def test_a_map_over_processes(two, three):
    """By row, with mutual neighbours that weigh more and rows that relocate, and t-SNE."""
    new = X[1200:1220]
    for group, parameters in ((three, {"max_iter": 110, "p": KNN(15, mutual_weight=2.0)}), (two, JOINT)):
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
            np.testing.assert_array_equal(part["read"], part["placed"])
        places = np.vstack([part["embedding"] for part in parts])
        again = Placer(whole.q_, whole.divergence_, places)(whole.p_.extend(new))
        placed = np.empty_like(again)
        for rank, part in enumerate(parts):
            placed[rank :: group.size] = part["placed"]
        np.testing.assert_allclose(placed, again, atol=1e-4)


def wide_map(scale):
    with shards(timeout=60) as group:
        rows = own(group.rank, group.size, FEW)
        places = scale * rows[:, [20, 28]]  # of pixels, so that many rows are near each other
        places += np.random.RandomState(0).standard_normal((1100, 2))[FEW[2][group.rank] :][: len(rows)]
        engine = Mesh(max_nodes=4096)
        model = ICONEmbedding(engine=engine, init=places, max_iter=3, learning_rate=1e-6, random_state=0)
        return model.fit(rows).loss_history_, places


def test_near_pairs_and_far_points_over_processes(two):
    """A map too wide for its grid, whose near pairs are summed one by one, and with points far outside."""
    parts = two.results(wide_map, 20.0)
    places = np.vstack([part[1] for part in parts])
    whole = ICONEmbedding(engine="dense", init=places, max_iter=3, learning_rate=1e-6, random_state=0)
    whole.fit(X[:1100])
    np.testing.assert_allclose(parts[0][0], whole.loss_history_, rtol=1e-3)


def refused(parameters):
    with shards(timeout=60) as group:
        rows = own(group.rank, group.size, FEW)
        return ICONEmbedding(random_state=0, max_iter=3, **parameters).fit(rows)


def of_one_process():
    with shards(timeout=60) as group:
        model = ICONEmbedding(random_state=0, max_iter=3).fit(own(group.rank, group.size, FEW))
    return model


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"q": "gaussian"}, "need a heavy tail"),
        ({"divergence": "hellinger"}, "divergence='kl'"),
        ({"debias": 0.1}, "debias=0"),
        ({"engine": "dense"}, "use engine='mesh'"),
        ({"n_components": 4}, "1 to 3 dimensions"),
        ({"init": "spectral"}, "sees the rows of one process"),
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs'"),
        ({"p": Gaussian(n_neighbors=None)}, "number of neighbours"),
        ({"p": KNN(5, metric="manhattan")}, "Euclidean or cosine"),
        ({"p": "labels"}, "mapper='table'"),
        ({"mapper": "linear"}, "looks across rows"),
    ],
)
def test_what_is_refused(two, parameters, sentence):
    for answer in two.run(refused, parameters):
        assert isinstance(answer, ValueError) and sentence in str(answer), answer


def test_one_process_alone_does_not_answer_for_all(two):
    model = two.results(of_one_process)[0]
    for ask in (
        model.transform,
        model.score,
        lambda rows: model.inverse_transform(rows[:, :2]),
        model.p_.extend,
    ):
        with pytest.raises(ValueError, match="fitted over"):
            ask(X[:3])
