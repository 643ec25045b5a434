"""What a report of a fault needs: the system, the versions of libraries, threads and devices."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch
from threadpoolctl import threadpool_info

from . import __version__

REQUIRED = ("scikit-learn", "numpy", "scipy", "torch", "pynndescent", "numba", "joblib", "threadpoolctl")
OPTIONAL = ("matplotlib", "plotly", "pandas", "polars", "faiss-cpu", "anndata", "scanpy", "bertopic", "skops")


def show_versions():
    """Print what a report of a fault needs: Python, the system, versions of libraries, threads and GPUs.

    Optional libraries are read off their metadata and not imported; those that are not installed are None.

    Examples
    --------
    >>> import iconlearn
    >>> iconlearn.show_versions()  # doctest: +ELLIPSIS
    System:
    ...
    """
    system = {
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    }
    libraries = {name: _version_of(name) for name in (*REQUIRED, *OPTIONAL)}
    torchs = {
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "CUDA build": torch.version.cuda,
        "GPUs": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
    _print("System", system)
    _print("Libraries", {"iconlearn": __version__, **libraries})
    _print("torch", torchs)
    print("\nThread pools:")
    for pool in threadpool_info():
        print(f"    {pool['internal_api']} {pool.get('version')}: {pool['num_threads']} threads")


def _version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _print(title, entries):
    width = max(map(len, entries))
    print(f"{'' if title == 'System' else chr(10)}{title}:")
    for name, value in entries.items():
        print(f"{name:>{width + 4}}: {value}")
