"""Three estimators beside scikit-learn's own on the handwritten digits: one table, one picture.

Run it with ``make demo``, or ``python examples/demo.py``.  It takes a few minutes on two cores, most of them
for the maps; with ``--rows 400 --seeds 2`` some seconds.  Ctrl-C prints what is known so far.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import scipy
import sklearn
import torch
from scipy import sparse
from scipy.linalg import orthogonal_procrustes
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import (
    accuracy_score,
    adjusted_rand_score,
    confusion_matrix,
    log_loss,
    normalized_mutual_info_score,
)
from sklearn.model_selection import train_test_split

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.learned import Student
from iconlearn.metrics import clustering_accuracy, joint_kl, neighbor_recall
from iconlearn.supervisory import Gaussian, Symmetrize

PICTURE = Path(__file__).parent / "output" / "demo.png"

# -- the fits ------------------------------------------------------------------------------------------


def timed(fit):
    """What `fit()` returns, and the seconds that it took."""
    start = time.perf_counter()
    return fit(), time.perf_counter() - start


def shared_joint(X):
    """The p of t-SNE as one symmetric matrix: both maps are measured on it."""
    p = Symmetrize(Gaussian(perplexity=30)).fit(X).conditional_
    return sparse.diags_array(p.row_mass) @ p.sparse()


def maps(X):
    """Yield (name, embedding, figures) of each map."""
    P = shared_joint(X)
    tsne_setting = {"p": Symmetrize(Gaussian(perplexity=30)), "q": Student(normalize="joint")}
    methods = {
        "ICONEmbedding, p and q of t-SNE": ICONEmbedding(**tsne_setting, max_iter=500, random_state=0),
        "ICONEmbedding, p='knn'": ICONEmbedding(p="knn", random_state=0),
        "sklearn TSNE": TSNE(random_state=0),
    }
    for name, method in methods.items():
        Z, seconds = timed(lambda method=method: method.fit_transform(X))
        yield name, Z, [joint_kl(P, Z), neighbor_recall(X, Z, 15), None, seconds]


def clusterings(X, y, n_seeds):
    """Yield (name, fitted estimators, figures of every seed)."""
    methods = {
        "ICONClustering": lambda seed: ICONClustering(10, random_state=seed),
        "sklearn KMeans": lambda seed: KMeans(10, n_init=10, random_state=seed),
        "sklearn SpectralClustering": lambda seed: SpectralClustering(
            10, affinity="nearest_neighbors", random_state=seed
        ),
    }
    for name, make in methods.items():
        runs = [timed(lambda make=make, seed=seed: make(seed).fit(X)) for seed in range(n_seeds)]
        yield name, [fit for fit, _ in runs], [[*agreement(y, fit.labels_), t] for fit, t in runs]


def agreement(y, labels):
    """Accuracy under the best matching, normalised mutual information, adjusted Rand index."""
    return (
        clustering_accuracy(y, labels),
        normalized_mutual_info_score(y, labels),
        adjusted_rand_score(y, labels),
    )


def classifications(X, y, n_seeds):
    """Yield (name, figures of every split)."""
    methods = {
        "ICONClassifier": lambda: ICONClassifier(random_state=0),
        "sklearn LogisticRegression": lambda: LogisticRegression(max_iter=1000),
    }
    options = {"test_size": 0.3, "stratify": y}
    splits = [train_test_split(X / 16, y, **options, random_state=seed) for seed in range(n_seeds)]
    for name, make in methods.items():
        yield name, [held_out(make(), split) for split in splits]


def held_out(method, split):
    """Accuracy and log loss on the held-out part, and the seconds of the fit."""
    X_train, X_test, y_train, y_test = split
    _, seconds = timed(lambda: method.fit(X_train, y_train))
    proba = method.predict_proba(X_test)
    return [accuracy_score(y_test, method.predict(X_test)), log_loss(y_test, proba), None, seconds]


# -- the table -----------------------------------------------------------------------------------------

WIDTH = 34
NAMES = {
    "maps": ("Maps in two dimensions", "joint KL", "recall@15", ""),
    "clusterings": ("Ten clusters, no labels seen", "accuracy", "NMI", "ARI"),
    "classifications": ("Held-out 30 % of the rows", "accuracy", "log loss", ""),
}


def line(name, cells):
    """One row of the table."""
    return f"{name:<{WIDTH}}" + "".join(f"{cell:>11}" for cell in cells)


def head(section):
    """The heading of a part of the table."""
    title, *columns = NAMES[section]
    print("\n" + line(title, [*columns, "seconds"]) + "\n" + "-" * (WIDTH + 44), flush=True)


def row(name, figures):
    """One method: quality to three digits, seconds to one or two."""
    *quality, seconds = figures
    cells = ["" if value is None else f"{value:.3f}" for value in quality]
    print(line("  " + name, [*cells, f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"]), flush=True)


def mean_of(runs):
    """Column means over seeds or splits, absent columns kept absent."""
    return [None if column[0] is None else float(np.mean(column)) for column in zip(*runs, strict=True)]


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def announce(X):
    """Say what runs, on what."""
    versions = {"scikit-learn": sklearn, "torch": torch, "numpy": np, "scipy": scipy}
    machine = f"{cores()} cores, {torch.get_num_threads()} torch threads"
    print(f"iconlearn {iconlearn.__version__}, Python {platform.python_version()}, {machine}")
    print(", ".join(f"{name} {module.__version__}" for name, module in versions.items()))
    print(f"digits: {X.shape[0]} images of 8 x 8 pixels, ten classes")


def run(X, y, n_seeds, found):
    """Fit everything, print the table as it grows, and keep what the picture needs in `found`."""
    head("maps")
    for name, Z, figures in maps(X):
        row(name, figures)
        found["maps"][name] = (Z, figures)
    head("clusterings")
    for name, fits, runs in clusterings(X, y, n_seeds):
        row(name, mean_of(runs))
        found["clusterings"][name] = (fits, np.array(runs))
    head("classifications")
    for name, runs in classifications(X, y, n_seeds):
        row(name, mean_of(runs))
        found["classifications"][name] = np.array(runs, dtype=float)
    print(
        f"\nLower is better for joint KL, log loss and seconds.  Maps: one run; the rest: means over "
        f"{n_seeds} seeds or splits."
    )


# -- the picture ---------------------------------------------------------------------------------------

# Paul Tol's muted palette and a grey: told apart with any common colour vision.  Digits are named as well.
COLOURS = [
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#888888",
]  # fmt: skip
INK, QUIET, FAINT = "#222222", "#5c5c5c", "#e4e4e4"
OURS, THEIRS = "#332288", "#b8b8b8"
LEFT = (0.03, 0.358, 0.686)  # of the three columns, whose width is:
SPAN = 0.284


def draw(X, y, found):
    """The picture: two maps and the clusters above, what they are worth below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.family": "sans-serif", "font.size": 11, "text.color": INK})
    figure = plt.figure(figsize=(15, 9), facecolor="white")
    figure.text(LEFT[0], 0.94, "One formula, three estimators", fontsize=23, weight="bold")
    figure.text(
        LEFT[0], 0.904, f"{len(y)} handwritten digits.  Neither the maps nor the clusters have seen a label.",
        fontsize=12.5, color=QUIET,
    )  # fmt: skip
    fit = found["clusterings"]["ICONClustering"][0][0]
    upper = [figure.add_axes([left, 0.3, SPAN, 0.53]) for left in LEFT]
    ours = draw_maps(upper[:2], y, found["maps"])
    clusters(upper[2], ours, y, fit)
    lower = [figure.add_axes([left + 0.1, 0.065, SPAN - 0.1, 0.15]) for left in LEFT[:2]]
    bars(figure, lower[0], "Share of 15 neighbours kept on the map", recalls(found))
    n_seeds = len(found["clusterings"]["ICONClustering"][0])
    bars(figure, lower[1], f"Rows in the right cluster, {n_seeds} seeds", accuracies(found))
    confidence(figure, figure.add_axes([LEFT[2] + 0.035, 0.085, SPAN - 0.035, 0.13]), y, fit)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=160)
    plt.close(figure)


def draw_maps(both, y, found):
    """Our map and TSNE's, the latter turned to lie like ours; returns ours."""
    (ours, our_figures), _, (theirs, their_figures) = found.values()
    ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
    theirs = theirs @ orthogonal_procrustes(theirs, ours)[0]
    panels = (ours, "ICONEmbedding", our_figures), (theirs, "scikit-learn TSNE", their_figures)
    for axes, (Z, name, figures) in zip(both, panels, strict=True):
        scatter(axes, Z, [COLOURS[c] for c in y])
        name_classes(axes, Z, y)
        title(axes, name, f"joint KL {figures[0]:.3f},  {figures[-1]:.0f} s")
    return ours


def scatter(axes, Z, colours, **style):
    """Small points on an empty ground."""
    axes.scatter(*Z.T, c=colours, **{"s": 13, "linewidths": 0, "alpha": 0.9, **style})
    axes.margins(0.03)
    axes.set_aspect("equal", adjustable="datalim")
    axes.axis("off")


def name_classes(axes, Z, y):
    """Write each digit where its class is thickest."""
    from matplotlib.patheffects import withStroke

    for c in np.unique(y):
        mine = Z[y == c]
        gaps = np.sort(np.linalg.norm(mine[:, None] - mine, axis=2), axis=1)
        place = mine[gaps[:, len(mine) // 2].argmin()]
        axes.text(
            *place, str(c), fontsize=17, weight="bold", ha="center", va="center", color=INK,
            path_effects=[withStroke(linewidth=3.5, foreground="white")],
        )  # fmt: skip


def title(axes, name, note):
    """A bold name and a quiet note under it."""
    axes.text(0.0, 1.05, name, transform=axes.transAxes, fontsize=14, weight="bold")
    axes.text(0.0, 1.005, note, transform=axes.transAxes, fontsize=11.5, color=QUIET)


def matched(y, labels):
    """Every cluster's number changed to that of the class it fits best."""
    counts = confusion_matrix(y, labels)
    classes, found = linear_sum_assignment(counts, maximize=True)
    return classes[np.argsort(found)][labels]


def clusters(axes, Z, y, fit):
    """Our clusters on our map; rows in the wrong one are ringed."""
    guess = matched(y, fit.labels_)
    wrong = guess != y
    scatter(axes, Z, [COLOURS[c] for c in guess], alpha=0.55)
    scatter(axes, Z[wrong], [COLOURS[c] for c in guess[wrong]], s=20, linewidths=0.8, edgecolors=INK, alpha=1)
    title(axes, "ICONClustering", f"{wrong.sum()} of {len(y)} rows misplaced (ringed)")


def recalls(found):
    """Name -> recall of every map, once."""
    return {short(name): [figures[1]] for name, (_, figures) in found["maps"].items()}


def accuracies(found):
    """Name -> accuracy of every seed."""
    return {short(name): runs[:, 0] for name, (_, runs) in found["clusterings"].items()}


def short(name):
    """A name that fits beside a bar."""
    names = {
        "ICONEmbedding, p and q of t-SNE": "ICON, t-SNE\u2019s p, q",
        "ICONEmbedding, p='knn'": 'ICON, p="knn"',
    }
    return names.get(name, name).replace("sklearn ", "").replace("SpectralClustering", "Spectral")


def bars(figure, axes, name, values):
    """Means as bars, single runs as ticks."""
    for k, (label, runs) in enumerate(values.items()):
        mean = float(np.mean(runs))
        axes.barh(k, mean, height=0.66, color=OURS if label.startswith("ICON") else THEIRS)
        if len(runs) > 1:
            axes.scatter(
                runs, np.full(len(runs), k), marker="|", s=110, color="#e6a23c", linewidths=1.4, zorder=3
            )
        axes.text(max(mean, max(runs)) + 0.02, k, f"{mean:.3f}", va="center", fontsize=11.5)
        axes.annotate(
            label,
            (axes.get_position().x0 - 0.1, k),
            xycoords=("figure fraction", "data"),
            va="center",
            fontsize=11.5,
        )
    axes.set(xlim=(0, 1.12), ylim=(len(values) - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    heading(figure, axes.get_position().x0 - 0.1, name)


def heading(figure, left, name):
    """The heading of a lower panel, flush with the column."""
    figure.text(left, 0.236, name, fontsize=12.5, weight="bold")


def confidence(figure, axes, y, fit):
    """Rows ordered from sure to unsure: how many of the first so many are right."""
    order = np.argsort(-fit.probabilities_.max(axis=1), kind="stable")
    right = (matched(y, fit.labels_) == y)[order]
    kept = np.arange(1, len(y) + 1)
    share, accuracy = 100 * kept / len(y), 100 * np.cumsum(right) / kept
    axes.plot(share[len(y) // 50 :], accuracy[len(y) // 50 :], color=OURS, linewidth=2.2)
    axes.set(xlim=(0, 101), ylim=(90, 100.6), xticks=[1, 50, 100], yticks=[90, 95, 100])
    for label, side in zip(axes.set_xticklabels(["the surest", "half", "all"]), ("left", "center", "right")):
        label.set(ha=side, fontsize=11)
    axes.set_yticklabels(["90 %", "95 %", "100 %"], fontsize=11)
    axes.tick_params(length=0, pad=8, labelcolor=QUIET)
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.9)
    heading(figure, LEFT[2], "Rows in the right cluster, by confidence")


def main():
    """Table first, then the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="of the digits, the first so many; all by default")
    parser.add_argument("--seeds", type=int, default=5, help="and splits")
    options = parser.parse_args()
    X, y = (array[: options.rows] for array in load_digits(return_X_y=True))
    found = {"maps": {}, "clusterings": {}, "classifications": {}}
    announce(X)
    try:
        run(X, y, options.seeds, found)
    except KeyboardInterrupt:
        print("\nStopped; the rows above are complete.  No picture was drawn.")
        sys.exit(130)
    try:
        draw(X, y, found)
    except ModuleNotFoundError as error:
        print(f"No picture without {error.name}: pip install matplotlib")
        return
    print(f"Picture: {os.path.relpath(PICTURE)}")


if __name__ == "__main__":
    main()
