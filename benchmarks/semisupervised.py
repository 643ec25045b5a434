"""Few labels: accuracy on the unlabelled rows, and on new rows, beside scikit-learn's own and Poisson learning.

    python benchmarks/semisupervised.py DATA [--sets digits mnist cora] [--draws 10] [--labels 1 5 10 100]

DATA holds mnist.npz, cora.npz and cora_X.npz; the digits come with scikit-learn.  Every draw takes so many labels of
every class at random.  A seventh of the rows is set aside as new: no method sees them in fit.  Of Cora the graph is
fixed, so there are no new rows; draw "standard" has the labels and the test rows of the usual split, the others 20
labels a class and all other rows.
"""

from __future__ import annotations

import argparse
import pathlib
import time
import warnings

import numpy as np
from _common import mnist, write
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from iconlearn import ICONClassifier
from iconlearn.supervisory import KNN, Graph


class OnLabels:
    """A classifier that sees labelled rows only."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.model.fit(X[y >= 0], y[y >= 0])
        self.transduction_ = self.model.predict(X)
        return self

    def predict(self, X):
        return self.model.predict(X)


class Poisson:
    """Poisson learning (Calder et al., ICML 2020), L u = sum over labels j of (y_j - mean y) delta_j.

    Written out here, on our graph, and solved by conjugate gradients; sizes of classes are not corrected for.
    """

    def __init__(self, graph=None, n_neighbors=15):
        self.graph, self.n_neighbors = graph, n_neighbors

    def fit(self, X, y):
        A = self.graph
        if A is None:
            A = KNN(self.n_neighbors).fit(X, random_state=0).conditional_.sparse()
        A = sparse.csr_array(A + A.T)
        degree = np.maximum(np.asarray(A.sum(axis=1)).ravel(), 1e-12)
        half = sparse.diags_array(degree**-0.5)
        L = sparse.eye_array(len(y)) - half @ A @ half
        labelled = np.flatnonzero(y >= 0)
        source = np.zeros((len(y), y.max() + 1))
        source[labelled, y[labelled]] = 1.0
        source[labelled] -= source[labelled].mean(axis=0)
        # Each part of the graph has a constant of its own in the null space of L, so that none may gain or lose.
        part = connected_components(A, directed=False)[1]
        total = np.bincount(part, degree)
        net = np.array([np.bincount(part, column) for column in source.T]).T
        source -= (degree / total[part])[:, None] * net[part]
        u = np.column_stack([half @ cg(L, half @ column, rtol=1e-4, maxiter=1000)[0] for column in source.T])
        mean = np.array([np.bincount(part, degree * column) for column in u.T]).T / total[:, None]
        self.transduction_ = (u - mean[part]).argmax(axis=1)
        return self


def methods(graph=None):
    """Fresh models; those that read a graph get it where there is one."""
    logistic = LogisticRegression(max_iter=1000)
    if graph is not None:
        yield "iconlearn", ICONClassifier(graph=Graph(graph), unlabeled=-1, random_state=0)
        yield (
            "iconlearn, graph alone",
            ICONClassifier(graph=Graph(graph), mapper="table", unlabeled=-1, random_state=0),
        )
        yield "label spreading on the graph", Spreading(graph)
        yield "Poisson", Poisson(graph)
    else:
        yield "iconlearn", ICONClassifier(unlabeled=-1, random_state=0)
        yield "iconlearn, linear", ICONClassifier(mapper="linear", unlabeled=-1, random_state=0)
        yield "LabelSpreading", LabelSpreading(kernel="knn", n_neighbors=15, max_iter=200)
        yield "Poisson", Poisson()
        yield "KNeighborsClassifier", OnLabels(KNeighborsClassifier(1))
    yield "LogisticRegression", OnLabels(logistic)
    yield "SelfTrainingClassifier", SelfTrainingClassifier(logistic)


class Spreading:
    """Label spreading (Zhou et al. 2003) on a given graph, alpha 0.9, to the end."""

    def __init__(self, graph):
        self.graph = graph

    def fit(self, X, y):
        A = sparse.csr_array(self.graph)
        half = sparse.diags_array(np.maximum(np.asarray(A.sum(axis=1)).ravel(), 1e-12) ** -0.5)
        S, given = half @ A @ half, np.eye(y.max() + 1)[y] * (y >= 0)[:, None]
        F = given
        for _ in range(200):
            F = 0.9 * (S @ F) + 0.1 * given
        self.transduction_ = F.argmax(axis=1)
        return self


def draw(y, per_class, seed):
    """So many rows of every class."""
    rng = np.random.RandomState(seed)
    return np.concatenate(
        [rng.choice(np.flatnonzero(y == c), per_class, replace=False) for c in np.unique(y)]
    )


def measure(name, model, X, y, given, counted, new=None):
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, given)
        seconds = time.perf_counter() - begun
        # SelfTrainingClassifier's transduction_ leaves rows unlabelled of which it was never sure.
        found = None if name == "SelfTrainingClassifier" else getattr(model, "transduction_", None)
        found = model.predict(X) if found is None else found
        fresh = (
            np.mean(model.predict(new[0]) == new[1]) if new is not None and hasattr(model, "predict") else ""
        )
    return {
        "method": name,
        "unlabelled rows": np.mean(found[counted] == y[counted]),
        "new rows": fresh,
        "seconds": seconds,
    }


def features(name, X, y, labels, draws):
    order = np.random.RandomState(0).permutation(len(y))
    new, old = order[: len(y) // 7], order[len(y) // 7 :]
    X_new, y_new, X, y = X[new], y[new], X[old], y[old]
    for per_class in labels:
        for seed in range(draws):
            given = np.full(len(y), -1)
            chosen = draw(y, per_class, seed)
            given[chosen] = y[chosen]
            for method, model in methods():
                row = measure(method, model, X, y, given, given < 0, (X_new, y_new))
                yield {"set": name, "labels": per_class, "draw": seed, **row}


def cora(folder, draws):
    with np.load(folder / "cora.npz") as file:
        y, ends, train, test = file["y"], file["edges"], file["is_train"] == 1, file["is_test"] == 1
    X = normalize(sparse.load_npz(folder / "cora_X.npz").astype(np.float32))
    graph = sparse.coo_array((np.ones(ends.shape[1]), ends), shape=(len(y), len(y)))
    graph = sparse.csr_array(graph + graph.T)
    splits = [("standard", np.where(train, y, -1), test)]
    for seed in range(draws):
        given, chosen = np.full(len(y), -1), draw(y, 20, seed)
        given[chosen] = y[chosen]
        splits.append((seed, given, given < 0))
    for seed, given, counted in splits:
        for method, model in methods(graph):
            yield {"set": "cora", "labels": 20, "draw": seed, **measure(method, model, X, y, given, counted)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", default=["digits", "mnist", "cora"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--labels", type=int, nargs="+", default=[1, 5, 10, 100])
    asked = parser.parse_args()
    rows = []
    for name in asked.sets:
        if name == "cora":
            stream = cora(asked.data, asked.draws)
        elif name == "digits":
            X, y = load_digits(return_X_y=True)
            stream = features(name, X / 16, y, asked.labels, asked.draws)
        else:
            X, y = mnist(asked.data)
            X = PCA(50, random_state=0).fit_transform(X).astype(np.float32)
            stream = features(name, X, y.astype(int), asked.labels, asked.draws)
        for row in stream:
            rows.append(row)
            print(*(f"{v:.4f}" if isinstance(v, float) else v for v in row.values()), sep="  ", flush=True)
    summary(rows)
    print("written to", write(__file__, rows))


def summary(rows):
    """Means over the draws; of Cora the standard split stands by itself."""
    groups = {}
    for row in rows:
        part = "standard" if row["draw"] == "standard" else "mean"
        groups.setdefault((row["set"], row["labels"], part, row["method"]), []).append(row)
    for (name, labels, part, method), found in groups.items():
        accuracy = np.array([row["unlabelled rows"] for row in found])
        fresh = [row["new rows"] for row in found if row["new rows"] != ""]
        fresh = f"{np.mean(fresh):.4f}" if fresh else "-"
        seconds = np.median([row["seconds"] for row in found])
        print(
            f"{name:<7} {labels:>4} {part:<9} {method:<28} {accuracy.mean():.4f} +- {accuracy.std():.4f}  new {fresh}"
            f"  {seconds:.1f} s"
        )


if __name__ == "__main__":
    main()
