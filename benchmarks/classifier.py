"""Is ICONClassifier as quick, as accurate and as well calibrated as what people use, and what do its losses do?

- speed: the linear softmax beside LogisticRegression at equal C and equal tolerance, runs in turn, and the
  largest difference of their coefficients once both are converged (double precision);
- calibration: expected calibration error and log loss on held-out rows, beside CalibratedClassifierCV;
- noise: held-out accuracy with 20 % and 40 % of the labels flipped, by the share of label smoothing;
- losses: harmonic loss and SupCon with an MLP beside LogisticRegression on digits;
- million: a million rows of 50 columns and 20 classes, time and peak memory.

DATA is a folder with mnist.npz and banking77_minilm.npz; without it only the digits and the million rows are
measured.  Calibration, noise and losses have one row in the csv for every split.
"""

from __future__ import annotations

import argparse
import pathlib
import resource
import time
import warnings

import numpy as np
from _common import mnist, write
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, recipes
from iconlearn.metrics import expected_calibration_error

# Largest data set on which both are also fitted to the end, for their coefficients.
MAX_EXACT = 2 * 10**7


def data_sets(folder, names):
    if "digits" in names:
        X, y = load_digits(return_X_y=True)
        yield "digits", X / 16, y
    if folder is None:
        return
    if "mnist-50" in names:
        X, y = mnist(folder)
        yield "mnist-50", PCA(50, svd_solver="randomized", random_state=0).fit_transform(X), y
    if "banking77" in names:
        with np.load(pathlib.Path(folder) / "banking77_minilm.npz") as file:
            yield "banking77", file["X"].astype(np.float32), file["y"]


def row(question, data, method, seed="", **figures):
    figures = {name: round(float(value), 5) for name, value in figures.items()}
    print(f"{question:12s} {data:10s} {method:34s} {seed!s:>2} {figures}", flush=True)
    names = {"question": question, "data": data, "method": method, "seed": seed}
    return [names | {"figure": name, "value": value} for name, value in figures.items()]


def means(rows):
    """Print the mean over the splits, and their standard deviation."""
    groups = {}
    for found in rows:
        key = (found["question"], found["data"], found["method"], found["figure"])
        groups.setdefault(key, []).append(found["value"])
    for (question, data, method, figure), values in groups.items():
        if len(values) > 1:
            values = np.array(values)
            print(
                f"{question:12s} {data:10s} {method:34s} {figure:9s} {values.mean():.4f} +- {values.std():.4f}"
            )


def timed(make, X, y):
    begun = time.perf_counter()
    model = make().fit(X, y)
    return time.perf_counter() - begun, model


def speed(name, X, y, runs):
    rows, seconds = [], {}
    methods = {
        f"{label}, tol={tol:g}": (lambda cls=cls, tol=tol: cls(C=1.0, tol=tol, max_iter=5000))
        for tol in (1e-4, 1e-6)
        for label, cls in (("LogisticRegression", LogisticRegression), ("ICONClassifier", ICONClassifier))
    }
    methods["recipes.cross_entropy()"] = recipes.cross_entropy
    methods["ICONClassifier()"] = ICONClassifier
    methods["LogisticRegression()"] = LogisticRegression
    for _ in range(runs):
        for label, make in methods.items():
            seconds.setdefault(label, []).append(timed(make, X, y)[0])
    for label, values in seconds.items():
        rows += row("speed", name, label, seconds=float(np.median(values)))
    if X.size <= MAX_EXACT:
        exact = X.astype(np.float64)
        truth = LogisticRegression(C=1.0, tol=1e-9, max_iter=20000).fit(exact, y).coef_
        ours = recipes.cross_entropy(C=1.0).fit(exact, y).coef_
        tight = recipes.cross_entropy(C=1.0, tol=1e-9, max_iter=20000).fit(exact, y).coef_
        rows += row("speed", name, "difference of coefficients", by_default=float(np.abs(ours - truth).max()))
        rows += row("speed", name, "difference, both tol=1e-9", value=float(np.abs(tight - truth).max()))
    return rows


def calibration(name, X, y, seeds):
    methods = {
        "LogisticRegression": lambda seed: LogisticRegression(max_iter=2000),
        "CalibratedClassifierCV, sigmoid": lambda seed: CalibratedClassifierCV(
            LogisticRegression(max_iter=2000)
        ),
        "CalibratedClassifierCV, isotonic": lambda seed: CalibratedClassifierCV(
            LogisticRegression(max_iter=2000), method="isotonic"
        ),
        "ICONClassifier": lambda seed: ICONClassifier(random_state=seed),
        "ICONClassifier, calibrate": lambda seed: ICONClassifier(calibrate=True, random_state=seed),
    }
    rows = []
    for method, make in methods.items():
        for seed in range(seeds):
            A, B, a, b = train_test_split(X, y, test_size=0.3, random_state=seed, stratify=y)
            P = (model := make(seed).fit(A, a)).predict_proba(B)
            ece = expected_calibration_error(b, P, classes=model.classes_)
            figures = {
                "ece": ece,
                "log_loss": log_loss(b, P, labels=model.classes_),
                "accuracy": model.score(B, b),
            }
            rows += row("calibration", name, method, seed, **figures)
    return rows


def noise(name, X, y, seeds, limit=10000):
    rows = []
    for flipped in (0.2, 0.4):
        methods = {"LogisticRegression": lambda: LogisticRegression(max_iter=2000)}
        for mapper in ("linear", "mlp"):
            for debias in (0.0, 0.1, 0.2, 0.4):
                methods[f"{mapper}, debias={debias}"] = lambda mapper=mapper, debias=debias: ICONClassifier(
                    mapper=mapper, debias=debias, random_state=0
                )
        for method, make in methods.items():
            for seed in range(seeds):
                A, B, a, b = train_test_split(
                    X[:limit], y[:limit], test_size=0.3, random_state=seed, stratify=y[:limit]
                )
                rng, classes = np.random.default_rng(seed), np.unique(y)
                wrong = rng.uniform(size=len(a)) < flipped
                codes = np.searchsorted(classes, a)
                shift = rng.integers(1, len(classes), size=len(a))
                noisy = classes[np.where(wrong, (codes + shift) % len(classes), codes)]
                accuracy = make().fit(A, noisy).score(B, b)
                rows += row("noise", name, f"{method}, {flipped:.0%} flipped", seed, accuracy=accuracy)
    return rows


def losses(seeds):
    X, y = load_digits(return_X_y=True)
    methods = {
        "LogisticRegression": lambda seed: LogisticRegression(max_iter=2000),
        "linear student": lambda seed: ICONClassifier(q="student", random_state=seed),
        "linear harmonic": lambda seed: recipes.harmonic(random_state=seed),
        "mlp softmax": lambda seed: ICONClassifier(mapper="mlp", random_state=seed),
        "mlp harmonic": lambda seed: recipes.harmonic(mapper="mlp", random_state=seed),
        "mlp SupCon": lambda seed: ICONClassifier(
            p="labels", q="cosine", mapper="mlp", max_iter=60, random_state=seed
        ),
    }
    rows = []
    for method, make in methods.items():
        for seed in range(seeds):
            A, B, a, b = train_test_split(X, y, test_size=0.3, random_state=seed)
            scaler = StandardScaler().fit(A)
            accuracy = make(seed).fit(scaler.transform(A), a).score(scaler.transform(B), b)
            rows += row("losses", "digits", method, seed, accuracy=accuracy)
    return rows


def million(n):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 50))
    y = rng.integers(20, size=n)
    X = (centres[y] + 2.0 * rng.normal(size=(n, 50))).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, model = timed(lambda: ICONClassifier(random_state=0), X, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {"seconds": seconds, "peak_gib": peak, "before_gib": before, "n_iter": float(model.n_iter_)}
    return row(
        "million", f"{n} x 50", "ICONClassifier", accuracy=model.score(X[:10000], y[:10000]), **figures
    )


SETS = ["digits", "mnist-50", "banking77"]
QUESTIONS = ["speed", "calibration", "noise", "losses", "million"]


def main(options):
    warnings.simplefilter("ignore")
    rows = million(options.rows) if "million" in options.only else []
    for name, X, y in data_sets(options.data, options.sets):
        if "speed" in options.only:
            rows += speed(name, X, y, options.runs)
        if "calibration" in options.only:
            rows += calibration(name, X, y, options.seeds)
        if "noise" in options.only:
            rows += noise(name, X, y, options.seeds)
    if "losses" in options.only:
        rows += losses(options.seeds)
    means(rows)
    variant = [] if options.only == QUESTIONS else options.only
    print(f"written to {write(__file__, rows, *variant)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", help="folder with mnist.npz and banking77_minilm.npz")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    main(parser.parse_args())
