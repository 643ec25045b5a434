"""Does a uniform share help representations learnt from views? SimCLR, t-SimCLR and t-SimCNE with a small encoder.

    python benchmarks/views.py [DATA] [--seeds 3] [--epochs 200] [--rows 2000] [--only digits]

The digits of scikit-learn, and with DATA (a folder that holds ``mnist.npz``) some rows of MNIST as well.  Two
views of an image are turned, moved, stretched and noisy copies of it.  Half of the rows are never seen in the
fit.  As usual, what is judged is the layer below the outputs, by a linear probe and by ten neighbours taught on
the half that was seen; the outputs themselves by ten neighbours.  The same two judges on the pixels are the line
to beat.

t-SimCNE goes on from t-SimCLR: its encoder with a new head of two outputs (Böhm, Berens and Kobak, ICLR 2023,
train in such stages, since two dimensions alone are a hard place to learn in).
"""

from __future__ import annotations

import argparse
import functools
import math
import time

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
WIDTH = 128


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
    """Three convolutions, a hidden layer, and a head; large images are taken in by longer strides."""
    strides = (1, 2, 2) if side < 16 else (2, 2, 2)
    layers, channels = [nn.Unflatten(1, (1, side, side))], 1
    for stride, width in zip(strides, (16, 32, 64), strict=True):
        layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.ReLU()]
        channels, side = width, -(-side // stride)
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * side**2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_outputs)
    )


def data(options):
    if options.only in ("", "digits"):
        X, y = load_digits(return_X_y=True)
        yield "digits", (X / 16).astype(np.float32), y
    if options.data and options.only in ("", "mnist"):
        X, y = mnist(options.data)
        some = np.random.default_rng(0).choice(len(X), options.rows, replace=False)
        yield f"mnist {options.rows}", X[some], y[some]


def neighbours(train, test, y_train, y_test):
    return KNeighborsClassifier(10).fit(train, y_train).score(test, y_test)


def judged(train, test, y_train, y_test):
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(train, y_train)
    return probe.score(test, y_test), neighbours(train, test, y_train, y_test)


def hidden(model, X):
    with torch.no_grad():
        return model.mapper_[:-1](torch.from_numpy(X)).numpy()


def fits(train, share, seed, epochs):
    """SimCLR, t-SimCLR, and t-SimCNE from the encoder of the latter, by name."""
    side = math.isqrt(train.shape[1])
    common = {
        "augment": functools.partial(views, side),
        "random_state": seed,
        "max_iter": epochs,
        "debias": share,
    }
    fresh = functools.partial(encoder, side)
    yield "SimCLR", recipes.simclr(mapper=fresh, **common).fit(train)
    wide = recipes.t_simclr(mapper=fresh, **common).fit(train)
    yield "t-SimCLR", wide
    torch.manual_seed(seed)
    yield (
        "t-SimCNE",
        recipes.t_simcne(
            mapper=nn.Sequential(*wide.mapper_[:-1], nn.Linear(WIDTH, 2)), learning_rate=0.001, **common
        ).fit(train),
    )


def main(options):
    figures = {}
    for name, X, y in data(options):
        for seed in range(options.seeds):
            half = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
            train, test, *labels = half
            figures.setdefault((name, "pixels", ""), []).append((*judged(*half), math.nan, 0, 0.0))
            for share in SHARES:
                begun = time.process_time()
                for method, model in fits(train, share, seed, options.epochs):
                    scores = judged(hidden(model, train), hidden(model, test), *labels)
                    outputs = neighbours(model.transform(train), model.transform(test), *labels)
                    seconds, begun = time.process_time() - begun, time.process_time()
                    found = (*scores, outputs, model.n_iter_, seconds)
                    figures.setdefault((name, method, share), []).append(found)
                    print(seed, name, method, share, np.round(found, 3).tolist(), flush=True)
    rows = []
    for (name, method, share), found in figures.items():
        linear, near, outputs, epochs, seconds = np.mean(found, axis=0)
        rows.append(
            {
                "data": name,
                "method": method,
                "debias": share,
                "linear_probe": round(float(linear), 4),
                "linear_probe_sd": round(float(np.std(found, axis=0)[0]), 4),
                "ten_neighbours": round(float(near), 4),
                "ten_neighbours_of_outputs": round(float(outputs), 4),
                "epochs": epochs,
                "cpu_seconds": round(float(seconds), 1),
                "seeds": len(found),
            }
        )
    print(f"written to {write(__file__, rows)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000, help="rows of MNIST, half of them held out")
    parser.add_argument("--only", default="", choices=["", "digits", "mnist"])
    main(parser.parse_args())
