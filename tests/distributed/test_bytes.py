"""What a step hands over: the counter of a group beside the formulas of the documentation."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.distributed import shards
from iconlearn.engines import Mesh
from iconlearn.engines.mesh import _mesh
from iconlearn.learned import Student
from iconlearn.neighbors import neighbor_graph
from iconlearn.supervisory import KNN

X, y = load_digits(return_X_y=True)
X, y, CUTS = X[:900], y[:900], [0, 350, 900]
WIDE = np.random.RandomState(0).uniform(0, 300, (900, 2))


@pytest.fixture(scope="module")
def growth():
    folder = Path(__file__).parents[2] / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("distributed_growth", folder / "distributed_growth.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(folder))


def a_step(parameters, wide=False):
    """What the third step of a map hands over, and the nodes of its grid."""
    nodes, convolve = [], _mesh.convolved

    def counted(charges, *args):
        nodes.append(charges.numel())
        return convolve(charges, *args)

    _mesh.convolved = counted
    try:
        with shards(timeout=60) as group:
            own = slice(*CUTS[group.rank : group.rank + 2])
            if wide:
                parameters = {**parameters, "init": WIDE[own], "learning_rate": 1e-6}
            sent = []
            for max_iter in (2, 3):
                nodes.clear()
                before = group.traffic.copy()
                ICONEmbedding(p=KNN(10), max_iter=max_iter, random_state=0, **parameters).fit(X[own])
                sent.append((group.traffic - before, sum(nodes)))
            (two, of_two), (three, of_three) = sent
            return three - two, of_three - of_two
    finally:
        _mesh.convolved = convolve


@pytest.mark.parametrize("kind", ["by row", "joint", "wide"])
def test_a_step_of_a_map(two, growth, kind):
    joint = kind == "joint"
    engine = Mesh(max_nodes=4096) if kind == "wide" else Mesh()
    q = Student(normalize="joint") if joint else Student()
    edges = neighbor_graph(X, 10)
    near = ((edges + edges.T) > 0).toarray()
    parts = two.results(a_step, {"q": q, "engine": engine}, kind == "wide")
    for rank, (sent, n_nodes) in enumerate(parts):
        own, other = (slice(*CUTS[r : r + 2]) for r in (rank, 1 - rank))
        n_sent = near[own, other].any(axis=1).sum()
        pairs = {"n_all": 900, "n_own": CUTS[rank + 1] - CUTS[rank], "size": 2} if kind == "wide" else {}
        expected = growth.map_step(n_nodes // (1 if joint else 2), n_sent, joint=joint, **pairs)
        assert {name: sent[name] for name in expected} == expected
        assert set(sent) - set(expected) <= {"objects"}


def a_step_of_clusters():
    with shards(timeout=60) as group:
        seen = []
        ICONClustering(
            10,
            p=KNN(10),
            max_iter=3,
            random_state=0,
            callback=lambda record: seen.append(group.traffic.copy()),
        ).fit(X[CUTS[group.rank] : CUTS[group.rank + 1]])
        return seen[-1] - seen[-2]


@pytest.mark.filterwarnings("ignore")
def test_a_step_of_the_refinement_of_clusters(two, growth):
    edges = neighbor_graph(X, 10)
    near = ((edges + edges.T) > 0).toarray()
    for rank, sent in enumerate(two.results(a_step_of_clusters)):
        own, other = (slice(*CUTS[r : r + 2]) for r in (rank, 1 - rank))
        expected = growth.cluster_step(10, near[own, other].any(axis=1).sum())
        assert {name: sent[name] for name in expected} == expected


def evaluations():
    with shards(timeout=60) as group:
        own, add_up, calls = slice(*CUTS[group.rank : group.rank + 2]), group.add_up, []
        group.add_up = lambda tensors: calls.append(1) or add_up(tensors)
        ICONClassifier(max_iter=4, random_state=0).fit(X[own], y[own])
        return group.traffic["add_up"], len(calls)


@pytest.mark.filterwarnings("ignore")
def test_an_evaluation_of_a_classifier(two, growth):
    for sent, n_calls in two.results(evaluations):
        assert sent == n_calls * growth.classifier_step((64 + 1) * 10, 8)["add_up"] > 0
