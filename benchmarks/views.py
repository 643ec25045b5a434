"""Does a uniform share help representations learnt from views? SimCLR and t-SimCNE with a small encoder.

    python benchmarks/views.py [DATA] [--seeds 3] [--epochs 300]

The digits of scikit-learn, and with DATA (a folder that holds ``mnist.npz``) 5 000 rows of MNIST as well.  Two
views of an image are turned, moved, stretched and noisy copies of it.  Half of the rows are never seen in the
fit; their representation is judged by a linear probe and by ten neighbours, both taught on the other half.
The same two judges on the pixels are the line to beat.
"""

from __future__ import annotations

import argparse
import functools
import math

import numpy as np
import torch
from _common import mnist, write
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from iconlearn import recipes

SHARES = (0.0, 0.2, 0.4, 0.6)
TURN, MOVE, STRETCH, NOISE = math.radians(20), 0.2, 0.15, 0.05


def views(side, rows):
    """Fresh copies of square images, each with a turn, a move and a stretch of its own."""
    n = len(rows)
    angle, stretch = TURN * (2 * torch.rand(n) - 1), 1 + STRETCH * (2 * torch.rand(n) - 1)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    move = MOVE * (2 * torch.rand(n, 2, 1) - 1)
    frame = torch.cat([turn * stretch[:, None, None], move], 2).to(rows)
    images = rows.view(n, 1, side, side)
    grid = nn.functional.affine_grid(frame, images.shape, align_corners=False)
    moved = nn.functional.grid_sample(images, grid, align_corners=False)
    return (moved + NOISE * torch.randn_like(moved)).flatten(1)


def encoder(side, n_inputs, n_outputs):
    """Three convolutions and a head."""
    left = side // 4
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * left * left, 128),
        nn.ReLU(),
        nn.Linear(128, n_outputs),
    )


def data(folder):
    X, y = load_digits(return_X_y=True)
    yield "digits", (X / 16).astype(np.float32), y
    if folder:
        X, y = mnist(folder)
        some = np.random.default_rng(0).choice(len(X), 5000, replace=False)
        yield "mnist 5000", X[some], y[some]


def judged(train, test, y_train, y_test):
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(train, y_train)
    return probe.score(test, y_test), KNeighborsClassifier(10).fit(train, y_train).score(test, y_test)


def main(options):
    rows = []

    def note(name, method, share, scores):
        linear, neighbours = np.mean(scores, axis=0)
        rows.append(
            {
                "data": name,
                "method": method,
                "debias": share,
                "linear_probe": round(float(linear), 4),
                "ten_neighbours": round(float(neighbours), 4),
                "spread": round(float(np.std([s[0] for s in scores])), 4),
                "seeds": len(scores),
            }
        )
        print(rows[-1], flush=True)

    for name, X, y in data(options.data):
        side = math.isqrt(X.shape[1])
        halves = [
            train_test_split(X, y, test_size=0.5, stratify=y, random_state=s) for s in range(options.seeds)
        ]
        note(name, "pixels", "", [judged(*half) for half in halves])
        for method, make in (("SimCLR", recipes.simclr), ("t-SimCNE", recipes.t_simcne)):
            for share in SHARES:
                scores = []
                for seed, (train, test, y_train, y_test) in enumerate(halves):
                    model = make(augment=functools.partial(views, side), random_state=seed).set_params(
                        mapper=functools.partial(encoder, side), debias=share, max_iter=options.epochs
                    )
                    model.fit(train)
                    scores.append(judged(model.transform(train), model.transform(test), y_train, y_test))
                note(name, method, share, scores)
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=300)
    main(parser.parse_args())
