"""Local radii in maps by t-SNE with and without a term that asks for those of the data.

python benchmarks/densities.py [weight ...]

Two sets: the 1797 digits, and six Gaussian clouds of 200 rows in ten dimensions whose widths go from 0.3 to 4. Printed
are the share of 15 neighbours that are kept, the correlation of the logarithms of mean squared distances to the 15
nearest rows of the data and to the 15 nearest places of the map, and t-SNE's part of the loss.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from iconlearn import recipes
from iconlearn.metrics import neighbor_recall


def clouds():
    rng = np.random.RandomState(0)
    centres, widths = 12 * rng.randn(6, 10), np.geomspace(0.3, 4, 6)
    return np.repeat(centres, 200, axis=0) + np.repeat(widths, 200)[:, None] * rng.randn(1200, 10)


def log_radii(X):
    distances, _ = NearestNeighbors(n_neighbors=15).fit(X).kneighbors()
    return np.log(np.square(distances).mean(axis=1))


def main(weights):
    for name, X in (("clouds", clouds()), ("digits", load_digits().data / 16)):
        models = {"t-SNE": recipes.tsne(random_state=0)}
        models |= {f"weight {w:g}": recipes.density_tsne(density_weight=w, random_state=0) for w in weights}
        for label, model in models.items():
            Z = model.fit_transform(X)
            kept, correlation = neighbor_recall(X, Z), np.corrcoef(log_radii(X), log_radii(Z))[0, 1]
            print(
                f"{name} {label}: neighbours {kept:.3f} radii {correlation:.3f} KL {model.loss_parts_[-1, 0]:.3f}"
            )


if __name__ == "__main__":
    main([float(w) for w in sys.argv[1:]] or [0.03, 0.1, 0.3])
