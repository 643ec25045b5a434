"""What the benchmark scripts share: where they run, and how they write their figures."""

from __future__ import annotations

import csv
import os
import pathlib
import platform

import numpy
import sklearn.decomposition
import torch

RESULTS = pathlib.Path(__file__).parent / "results"


def machine() -> dict:
    """Versions and cores, for every row of a result."""
    return {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }


def mnist(folder) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Pixels in [0, 1], float32 of shape (70000, 784), and labels, from ``mnist.npz`` in a folder."""
    with numpy.load(pathlib.Path(folder) / "mnist.npz") as file:
        return file["X"].reshape(len(file["X"]), -1).astype(numpy.float32) / 255, file["y"]


def is_data(data) -> bool:
    """Whether :func:`features_of` finds what it reads."""
    return data is not None and (pathlib.Path(data).is_file() or (pathlib.Path(data) / "mnist.npz").is_file())


def features_of(data, n_columns=50) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Features, float32, what they were made of, and labels as numbers from zero.

    `data` is a folder with ``mnist.npz``, which is taken in `n_columns` principal components, or another file of
    arrays X and y, whose columns are taken as they are.
    """
    path = pathlib.Path(data)
    if path.is_dir():
        raw, y = mnist(path)
        X = sklearn.decomposition.PCA(n_columns, random_state=0).fit_transform(raw).astype(numpy.float32)
    else:
        with numpy.load(path, allow_pickle=True) as file:
            raw, y = file["X"].astype(numpy.float32), file["y"]
        X = raw
    return X, raw, numpy.unique(y, return_inverse=True)[1]


def write(script: str, rows: list[dict], *variant: str) -> pathlib.Path:
    """Write rows of figures beside what they were measured on; returns the file's path.

    The file is called after the script and, where there are several, the variant of it that ran.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{'_'.join([pathlib.Path(script).stem, *variant])}.csv"
    rows = [{**row, **machine()} for row in rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def append(path: pathlib.Path, row: dict) -> None:
    """Add a row of figures to a csv that is begun where it is not there yet, beside what it was measured on."""
    row, new = {**row, **machine()}, not path.exists()
    path.parent.mkdir(exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def rows_of(path: pathlib.Path, **values) -> list[dict]:
    """Rows of a csv (as text) that have these values; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if all(row[k] == str(v) for k, v in values.items())]
