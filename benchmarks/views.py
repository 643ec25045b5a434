"""Does a uniform share help representations learnt from views? SimCLR, t-SimCLR and t-SimCNE with a small encoder.

    python benchmarks/views.py [DATA] [--seeds 3] [--epochs 200] [--rows 2000] [--only digits] [--methods SimCLR]
        [--shares 0 0.4]

The digits of scikit-learn, and with DATA (a folder that holds ``mnist.npz``) some rows of MNIST as well.  Two
views of an image are turned, moved, stretched and noisy copies of it.  Half of the rows are never seen in the
fit.  As usual, what is judged is the layer below the outputs, by a linear probe and by ten neighbours taught on
the half that was seen; the outputs themselves by ten neighbours.  The same two judges on the pixels are the line
to beat.  Every fit is a row of the csv, and what is there is not run again.

t-SimCNE goes on from t-SimCLR in the stages of Böhm, Berens and Kobak (ICLR 2023), since two dimensions alone are a
hard place to learn in: a new head of two outputs is trained on the encoder as it is, then both together.  Its
seconds are those of these stages, and its epochs those of the last one.
"""

from __future__ import annotations

import argparse
import functools
import math
import pathlib
import time

import numpy as np
import torch
from _common import RESULTS, append, mnist, rows_of
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from iconlearn import recipes

METHODS = ("SimCLR", "t-SimCLR", "t-SimCNE")
FIGURES = ("linear_probe", "ten_neighbours", "ten_neighbours_of_outputs", "epochs", "cpu_seconds")
SHARES = (0.0, 0.2, 0.4, 0.6)
TURN, MOVE, STRETCH, NOISE = math.radians(20), 0.2, 0.15, 0.05
WIDTH = 128
# Learning rates of the stages of t-SimCNE, the head's first, and their epochs as shares of those of t-SimCLR.
STAGES = ((0.05, 0.2), (0.003, 0.5), (0.0005, 0.25))


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


def fits(train, share, seed, epochs, methods):
    """The models of some methods, by name, as they are asked for."""
    side = math.isqrt(train.shape[1])
    common = {
        "augment": functools.partial(views, side),
        "random_state": seed,
        "max_iter": epochs,
        "debias": share,
    }
    fresh = functools.partial(encoder, side)
    if "SimCLR" in methods:
        yield "SimCLR", recipes.simclr(mapper=fresh, **common).fit(train)
    if {"t-SimCLR", "t-SimCNE"} & set(methods):
        yield "t-SimCLR", (wide := recipes.t_simclr(mapper=fresh, **common).fit(train))
        if "t-SimCNE" in methods:
            yield "t-SimCNE", two_outputs(wide, train, common)


def two_outputs(wide, train, common):
    """t-SimCNE in its stages: a new head on the encoder as it is, then both at falling rates."""
    torch.manual_seed(common["random_state"])
    network = nn.Sequential(*wide.mapper_[:-1].requires_grad_(False), nn.Linear(WIDTH, 2))
    for rate, part in STAGES:
        model = recipes.t_simcne(mapper=network, learning_rate=rate, **common)
        model.set_params(max_iter=max(1, round(part * common["max_iter"]))).fit(train)
        network = model.mapper_.requires_grad_(True)
    return model


def measured(name, X, y, options, path):
    """Fit what the csv at `path` lacks, and write a row for each fit."""
    for seed in range(options.seeds):
        half = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
        train, test, *labels = half
        done = {(row["method"], row["debias"]) for row in rows_of(path, data=name, seed=seed)}
        if ("pixels", "0.0") not in done:
            linear, near = judged(*half)
            row = {"linear_probe": linear, "ten_neighbours": near, "ten_neighbours_of_outputs": near}
            record(path, name, "pixels", 0.0, seed, {**row, "epochs": 0, "cpu_seconds": 0.0})
        for share in options.shares:
            missing = [method for method in options.methods if (method, str(share)) not in done]
            begun = time.process_time()
            for method, model in fits(train, share, seed, options.epochs, missing):
                seconds = time.process_time() - begun
                if method in missing:
                    linear, near = judged(hidden(model, train), hidden(model, test), *labels)
                    outputs = neighbours(model.transform(train), model.transform(test), *labels)
                    row = {
                        "linear_probe": linear,
                        "ten_neighbours": near,
                        "ten_neighbours_of_outputs": outputs,
                        "epochs": model.n_iter_,
                        "cpu_seconds": round(seconds, 1),
                    }
                    record(path, name, method, share, seed, row)
                begun = time.process_time()


def record(path, name, method, share, seed, figures):
    figures = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
    row = {"data": name, "method": method, "debias": share, "seed": seed, **figures}
    append(path, row)
    print(*row.values(), flush=True)


def report(path):
    """Means over the seeds."""
    groups = {}
    for row in rows_of(path):
        groups.setdefault((row["data"], row["method"], row["debias"]), []).append(
            [float(row[name]) for name in FIGURES]
        )
    print(f"{'data':<12} {'method':<10} debias  seeds  {'  '.join(FIGURES)}")
    for (name, method, share), found in groups.items():
        means = "  ".join(f"{mean:>{len(n)}.3f}" for mean, n in zip(np.mean(found, 0), FIGURES, strict=True))
        print(f"{name:<12} {method:<10} {share:>6}  {len(found):>5}  {means}")


def main(options):
    path = options.csv or RESULTS / "views.csv"
    if not options.report:
        for name, X, y in data(options):
            measured(name, X, y, options, path)
    report(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", default="", help="folder with mnist.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000, help="rows of MNIST, half of them held out")
    parser.add_argument("--only", default="", choices=["", "digits", "mnist"])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument(
        "--shares", nargs="+", type=float, default=SHARES, help="uniform shares of p (0 to 1)"
    )
    parser.add_argument("--csv", type=pathlib.Path, help="another place for the figures")
    parser.add_argument("--report", action="store_true", help="print the means of what is in the csv")
    main(parser.parse_args())
