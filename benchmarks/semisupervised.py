"""Few labels: accuracy on the unlabelled rows, and on new rows, beside scikit-learn's own and Poisson learning.

    python benchmarks/semisupervised.py DATA [--sets digits mnist cora] [--draws 10] [--labels 1 10 uneven wrong]

DATA holds mnist.npz, cora.npz and cora_X.npz; the digits come with scikit-learn.  Every draw takes so many labels of
every class at random; "uneven" takes 1 of one class to 10 of another, in geometric ratio and random order, and "wrong"
10 of every class, of which a fifth gets another class.  A seventh of the rows is set aside as new: no method sees them
in fit.  Of Cora the graph is fixed, so there are no new rows; draw "standard" has the labels and the test rows of the
usual split, the others 20 labels a class and all other rows.

What is in the csv is not run again: delete rows, or name their method after --again, to measure them anew.  Poisson
learning is that of graphlearning where it is installed (pip install graphlearning annoy), and in any case ours.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import pathlib
import time
import warnings

import numpy as np
from _common import RESULTS, machine, mnist
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

COLUMNS = ("set", "labels", "draw", "method", "unlabelled rows", "new rows", "cpu seconds", *machine())


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


class TheirPoisson:
    """Poisson learning as graphlearning has it, on its own graph of ten neighbours, all by default."""

    graph = (None, None)  # rows, and what was found of them

    def model(self, graph):
        import graphlearning

        return graphlearning.ssl.poisson(graph)

    def fit(self, X, y):
        import graphlearning

        if TheirPoisson.graph[0] is not X:
            TheirPoisson.graph = X, graphlearning.weightmatrix.knn(X, 10)
        labelled = np.flatnonzero(y >= 0)
        self.transduction_ = self.model(TheirPoisson.graph[1]).fit_predict(labelled, y[labelled])
        return self


class TheirPoissonMBO(TheirPoisson):
    """Poisson MBO, which is given the sizes of the classes and keeps to them."""

    def __init__(self, sizes):
        self.sizes = sizes

    def model(self, graph):
        import graphlearning

        return graphlearning.ssl.poisson_mbo(graph, self.sizes)


def methods(sizes, graph=None):
    """A maker of each model, by name; those that read a graph get it where there is one.

    Sizes are the shares of the classes, which Poisson MBO asks for.
    """
    logistic = LogisticRegression(max_iter=1000)
    if graph is not None:
        known = Graph(graph)
        found = {
            "iconlearn": lambda: ICONClassifier(graph=known, unlabeled=-1, random_state=0),
            "iconlearn, graph alone": lambda: ICONClassifier(
                graph=known, mapper="table", unlabeled=-1, random_state=0
            ),
            "label spreading on the graph": lambda: Spreading(graph),
            "Poisson": lambda: Poisson(graph),
        }
    else:
        found = {
            "iconlearn": lambda: ICONClassifier(unlabeled=-1, random_state=0),
            "iconlearn, linear": lambda: ICONClassifier(mapper="linear", unlabeled=-1, random_state=0),
            "LabelSpreading": lambda: LabelSpreading(kernel="knn", n_neighbors=15, max_iter=200),
            "Poisson": Poisson,
            "KNeighborsClassifier": lambda: OnLabels(KNeighborsClassifier(1)),
        }
        if importlib.util.find_spec("graphlearning"):
            found["Poisson (graphlearning)"] = TheirPoisson
            found["Poisson MBO, true sizes"] = lambda: TheirPoissonMBO(sizes)
            found["Poisson MBO, equal sizes"] = lambda: TheirPoissonMBO(np.full_like(sizes, 1.0 / len(sizes)))
    found["LogisticRegression"] = lambda: OnLabels(logistic)
    found["SelfTrainingClassifier"] = lambda: SelfTrainingClassifier(logistic)
    return found


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
    """So many rows of every class: a number, or one for each class."""
    rng, classes = np.random.RandomState(seed), np.unique(y)
    numbers = np.broadcast_to(per_class, len(classes))
    return np.concatenate(
        [rng.choice(np.flatnonzero(y == c), number, replace=False) for c, number in zip(classes, numbers)]
    )


def labelled(y, kind, seed):
    """What is given of y, -1 elsewhere, and what such labels are called."""
    given, n_classes = np.full(len(y), -1), y.max() + 1
    per_class, name, rng = 10, kind, np.random.RandomState(seed)
    if kind == "uneven":
        per_class, name = rng.permutation(np.geomspace(1, 10, n_classes).round().astype(int)), "1 to 10"
    elif kind != "wrong":
        per_class = int(kind)
    chosen = draw(y, per_class, seed)
    given[chosen] = y[chosen]
    if kind == "wrong":
        name = "10, a fifth wrong"
        wrong = rng.permutation(chosen)[: len(chosen) // 5]
        given[wrong] = (y[wrong] + rng.randint(1, n_classes, len(wrong))) % n_classes
    return given, name


def measure(name, model, X, y, given, counted, new=None):
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, given)
        seconds = time.process_time() - begun
        # SelfTrainingClassifier's transduction_ leaves rows unlabelled of which it was never sure.
        found = None if name == "SelfTrainingClassifier" else getattr(model, "transduction_", None)
        found = model.predict(X) if found is None else found
        predicts = new is not None and hasattr(model, "predict")
        fresh = np.mean(model.predict(new[0]) == new[1]) if predicts else ""
    return {
        "unlabelled rows": np.mean(found[counted] == y[counted]),
        "new rows": fresh,
        "cpu seconds": seconds,
    }


def features(X, y, labels, seeds):
    """Draws of labels: what they are called, and what of the rows is given, counted and new."""
    order = np.random.RandomState(0).permutation(len(y))
    new, old = order[: len(y) // 7], order[len(y) // 7 :]
    fresh, X, y = (X[new], y[new]), X[old], y[old]
    for seed in seeds:
        for kind in labels:
            given, called = labelled(y, kind, seed)
            yield (called, seed), (X, y, given, given < 0, fresh)


def cora(folder):
    """Words of every paper, its topic, the citations, and who is which in the usual split."""
    with np.load(folder / "cora.npz") as file:
        y, ends, train, test = file["y"], file["edges"], file["is_train"] == 1, file["is_test"] == 1
    X = normalize(sparse.load_npz(folder / "cora_X.npz").astype(np.float32))
    graph = sparse.coo_array((np.ones(ends.shape[1]), ends), shape=(len(y), len(y)))
    return X, y, sparse.csr_array(graph + graph.T), train, test


def citations(X, y, train, test, seeds):
    yield (20, "standard"), (X, y, np.where(train, y, -1), test)
    for seed in seeds:
        given, chosen = np.full(len(y), -1), draw(y, 20, seed)
        given[chosen] = y[chosen]
        yield (20, seed), (X, y, given, given < 0)


def asked_for(name, asked):
    """The methods and the draws of one set of data."""
    seeds = range(asked.first, asked.draws)
    if name == "cora":
        X, y, graph, train, test = cora(asked.data)
        return methods(np.bincount(y) / len(y), graph), citations(X, y, train, test, seeds)
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        X = X / 16
    else:
        X, y = mnist(asked.data)
        y = y.astype(int)
        X = PCA(50, random_state=0).fit_transform(X).astype(np.float32)
    return methods(np.bincount(y) / len(y)), features(X, y, asked.labels, seeds)


def begun(path, forgotten, sets):
    """Rows that the csv at `path` has, but for those to be measured anew."""
    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if not (r["method"] in forgotten and r["set"] in sets)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", default=["digits", "mnist", "cora"])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="where to begin among them")
    parser.add_argument("--labels", nargs="+", default=["1", "5", "10", "100", "uneven", "wrong"])
    parser.add_argument("--methods", nargs="+", help="only these; all by default")
    parser.add_argument("--again", nargs="+", default=[], help="methods to measure anew")
    parser.add_argument("--csv", type=pathlib.Path, default=RESULTS / "semisupervised.csv")
    asked = parser.parse_args()
    rows = begun(asked.csv, asked.again, asked.sets)
    done = {(row["set"], row["labels"], row["draw"], row["method"]) for row in rows}
    for name in asked.sets:
        makers, draws = asked_for(name, asked)
        for (labels, seed), sample in draws:
            for method, make in makers.items():
                key = (name, str(labels), str(seed), method)
                if key in done or (asked.methods and method not in asked.methods):
                    continue
                row = dict(zip(COLUMNS, key, strict=False)) | measure(method, make(), *sample) | machine()
                with asked.csv.open("a", newline="") as file:
                    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
                rows.append(row)
                print(
                    *(f"{v:.4f}" if isinstance(v, float) else v for v in list(row.values())[:7]), flush=True
                )
    summary(rows)


def summary(rows):
    """Means over the draws; of Cora the standard split stands by itself."""
    groups = {}
    for row in sorted(rows, key=lambda row: (row["set"], not row["labels"].isdigit(), len(row["labels"]))):
        part = "standard" if row["draw"] == "standard" else "mean"
        groups.setdefault((row["set"], row["labels"], part, row["method"]), []).append(row)
    for (name, labels, part, method), found in groups.items():
        accuracy = np.array([float(row["unlabelled rows"]) for row in found])
        fresh = [float(row["new rows"]) for row in found if row["new rows"] != ""]
        fresh = f"{np.mean(fresh):.4f}" if fresh else "-"
        seconds = np.median([float(row["cpu seconds"]) for row in found])
        print(
            f"{name:<7} {labels:>4} {part:<9} {method:<28} {accuracy.mean():.4f} +- {accuracy.std():.4f}"
            f"  new {fresh}  {seconds:.1f} s  {len(found)} draws"
        )


if __name__ == "__main__":
    main()
