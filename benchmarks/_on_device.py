"""The stages of device.py, one in a process: ``python _on_device.py STAGE OUT DATA [--smoke]``."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import time
import traceback
import warnings
from functools import partial
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from _common import append, mnist, rows_of
from sklearn.metrics import normalized_mutual_info_score

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, _kernels
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cluster

# What a line of figures begins with, for the script that reads it.
FIGURES = "* "
CARD = "cuda" if torch.cuda.is_available() else "cpu"
N_COLUMNS, N_CLASSES = 50, 10
# Parts of the suite that go through every engine, every estimator and what is kept of a fit.
TESTS = (
    "tests/engines/test_dense.py", "tests/engines/test_mesh.py", "tests/engines/test_near.py",
    "tests/engines/test_minibatch.py", "tests/engines/test_sampled.py", "tests/test_geometry.py",
    "tests/test_every_q.py", "tests/test_softmax.py", "tests/test_optim.py", "tests/test_neighbors_cells.py",
    "tests/storage/test_checkpoint.py", "tests/periodic_table/test_recipes.py", "tests/estimators/test_heads.py",
    "tests/device/test_kernels.py",
)  # fmt: skip


def marked():
    """The files of the tests marked gpu."""
    found = (path for path in pathlib.Path("tests").rglob("test_*.py") if "mark.gpu" in path.read_text())
    return sorted(map(str, found))


class Sizes(NamedTuple):
    """Rows of each stage; columns, clusters and the batch of the head."""

    few: int = 10_000
    digits: int = 70_000
    million: int = 1_000_000
    head: tuple[int, int, int, int, int] = (1_280_000, 65_536, 768, 1000, 4096)


FULL = Sizes()
SMOKE = Sizes(600, 1500, 3000, (4000, 2000, 16, 10, 512))


# -- where figures go --------------------------------------------------------------------------------------


class Book:
    """The figures of a stage: each measurement once, and a failed one does not end the others."""

    def __init__(self, stage, folder):
        self.stage, self.path, self.failed = stage, folder / "device.csv", []

    def measure(self, case, function, device=CARD):
        """Note what `function` of a device finds: a dict of numbers."""
        where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        if rows_of(self.path, stage=self.stage, case=case, device=where):
            print(f"{case}: known already", flush=True)
            return
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        try:
            found = function(device)
        except Exception:
            told = traceback.format_exc()
            print(f"{told}{FIGURES}{case} [{device}]: {told.splitlines()[-1][:300]}", flush=True)
            self.failed.append(case)
            return
        for figure, value in found.items():
            value = float(f"{value:.5g}")
            append(
                self.path,
                {"stage": self.stage, "case": case, "device": where, "figure": figure, "value": value},
            )
        told = ", ".join(f"{figure} {value:.4g}" for figure, value in found.items())
        print(f"{FIGURES}{case} [{device}, {time.perf_counter() - begun:.1f} s]: {told}", flush=True)


def settled():
    if CARD == "cuda":
        torch.cuda.synchronize()


def seconds_of(function, repeats=20):
    """The median seconds of a call, the card's work included."""
    for _ in range(3):
        function()
    taken = []
    for _ in range(repeats):
        settled()
        begun = time.perf_counter()
        function()
        settled()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


# -- data --------------------------------------------------------------------------------------------------


def digits(data, n):
    """Rows of MNIST in its 50 first principal components, or made-up ones of that shape, and labels."""
    if data:
        from sklearn.decomposition import PCA

        X, y = mnist(data)
        X = PCA(N_COLUMNS, svd_solver="covariance_eigh").fit_transform(X).astype(np.float32)
    else:
        X, y = made_up_digits(FULL.digits)
    kept = np.random.default_rng(0).permutation(len(X))[:n]
    return np.ascontiguousarray(X[kept]), y[kept]


def made_up_digits(n, n_latent=8):
    """Ten curved sheets of eight dimensions in 50 columns, whose spread falls as that of MNIST does."""
    rng = np.random.default_rng(0)
    y = rng.integers(N_CLASSES, size=n)
    spread = 2.3 * np.arange(1, N_COLUMNS + 1) ** -0.55
    X = np.empty((n, N_COLUMNS), np.float32)
    for label in range(N_CLASSES):
        rows = np.flatnonzero(y == label)
        latent = rng.normal(size=(len(rows), n_latent))
        bent = np.tanh(latent @ rng.normal(scale=0.5, size=(n_latent, 64)))
        sheet = bent @ rng.normal(scale=64**-0.5, size=(64, N_COLUMNS)) + rng.normal(size=N_COLUMNS)
        X[rows] = spread * (sheet + 0.1 * rng.normal(size=sheet.shape))
    return X, y


def mixture(n, n_clusters=100):
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=3.0, size=(n_clusters, N_COLUMNS)).astype(np.float32)
    return centres[rng.integers(n_clusters, size=n)] + rng.normal(size=(n, N_COLUMNS)).astype(np.float32)


def quality(X, Z, y, n=2000):
    """Recall of 15 neighbours and the share of rows whose 10 neighbours on the map vote for their label."""
    rows = np.random.default_rng(1).permutation(len(X))[:n]
    near = []
    for places in (X, Z):
        points = torch.as_tensor(places, dtype=torch.float32, device=CARD)
        apart = torch.cdist(points[rows], points)
        apart[torch.arange(len(rows)), torch.as_tensor(rows)] = torch.inf
        near.append(apart.topk(15, largest=False).indices.cpu().numpy())
    recall = np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near)]) / 15
    votes = np.apply_along_axis(np.bincount, 1, y[near[1][:, :10]], minlength=y.max() + 1)
    return {"recall_15": recall, "label_accuracy": (votes.argmax(1) == y[rows]).mean()}


# -- the fits that bits and values are compared of -----------------------------------------------------------


def fits(sizes, data):
    """By name: a fit on a device, with its loss, its answer as an array, and its figures of merit."""
    X, y = digits(data, sizes.few)
    half = len(X) // 2
    common = {"random_state": 0}

    def map_of(rows, *arguments, **options):
        def fit(device):
            model = ICONEmbedding(*arguments, device=device, **common, **options).fit(X[:rows])
            return model.loss_, model.embedding_, quality(X[:rows], model.embedding_, y[:rows])

        return fit

    def clusters(rows, **options):
        def fit(device):
            model = ICONClustering(N_CLASSES, device=device, **common, **options).fit(X[:rows])
            nmi = normalized_mutual_info_score(y[:rows], model.labels_)
            return model.loss_, model.probabilities_, {"nmi": nmi}

        return fit

    def classifier(**options):
        def fit(device):
            model = ICONClassifier(device=device, **common, **options).fit(X[:half], y[:half])
            return (
                model.loss_,
                model.predict_proba(X[half:]),
                {"accuracy": (model.predict(X[half:]) == y[half:]).mean()},
            )

        return fit

    views = {"p": "views", "q": "cosine", "mapper": "mlp", "engine": MiniBatch(512), "max_iter": 5}
    head = {
        "mapper": "linear", "engine": MiniBatch(1024), "q": Cluster(mass_momentum=0.9), "init": "k-means++",
        "n_init": 1, "max_iter": 5,
    }  # fmt: skip
    return {
        "map by grid": map_of(len(X)),
        "map of all pairs": map_of(min(900, len(X))),
        "map of 5 dimensions, sampled": map_of(min(4000, len(X)), 5, engine="sampled", max_iter=100),
        "network of views, batches": map_of(min(5000, len(X)), **views),
        "clusters": clusters(min(5000, len(X))),
        "clusters by gradient": clusters(min(2000, len(X)), engine="dense", n_init=2, max_iter=50),
        "head of clusters, batches": clusters(len(X), **head),
        "linear classifier": classifier(),
        "network classifier": classifier(mapper="mlp", max_iter=5),
    }


def bits(book, sizes, data):
    """The same seed twice."""

    def twice(fit, device):
        first, second = (np.asarray(fit(device)[1], dtype=float) for _ in range(2))
        return {"same bits": (first == second).all(), "largest difference": np.abs(first - second).max()}

    for name, fit in fits(sizes, data).items():
        book.measure(name, partial(twice, fit))


def agree(book, sizes, data):
    """The CPU and the card: losses, and what the fits are worth."""

    def once(fit, device):
        begun = time.perf_counter()
        loss, _, merits = fit(device)
        return {"loss": loss, **merits, "seconds beside others": time.perf_counter() - begun}

    for name, fit in fits(sizes, data).items():
        for device in dict.fromkeys((CARD, "cpu")):
            book.measure(name, partial(once, fit), device)


# -- time --------------------------------------------------------------------------------------------------


def timed_map(X, y=None):
    def fit(device):
        begun = time.perf_counter()
        model = ICONEmbedding(random_state=0, device=device).fit(X)
        seconds = time.perf_counter() - begun
        found = {
            "seconds": seconds,
            **{f"seconds of {stage}": taken for stage, taken in model.timings_.items()},
            "steps": model.n_iter_,
            "ms a step": 1e3 * model.timings_["optimisation"] / model.n_iter_,
            "loss": model.loss_,
            **peak(device),
        }
        return found if y is None else {**found, **quality(X, model.embedding_, y)}

    return fit


def peak(device):
    return {"peak GiB on the card": torch.cuda.max_memory_allocated() / 2**30} if device == "cuda" else {}


def digits_twice(book, sizes, data):
    X, y = digits(data, sizes.digits)
    for case in ("first fit of a process", "second fit", "third fit"):
        book.measure(f"map of {len(X)} digits, {case}", timed_map(X, y))
    print(f"kernels of Triton, and whether they agreed with plain operations: {_kernels._agreed}")
    with mock.patch("iconlearn._kernels._has_triton", lambda: False):
        book.measure(f"map of {len(X)} digits, by plain operations", timed_map(X, y))


def digits_on_cpu(book, sizes, data):
    X, y = digits(data, sizes.digits)
    ICONEmbedding(max_iter=5, random_state=0, device="cpu").fit(X[:6000])
    book.measure(f"map of {len(X)} digits, second fit", timed_map(X, y), "cpu")


def million(book, sizes, data):
    X = mixture(sizes.million)
    ICONEmbedding(max_iter=5, random_state=0).fit(X[:30_000])
    book.measure(f"map of {len(X)} rows", timed_map(X))
    book.measure(f"map of {len(X) // 5} rows", timed_map(X[: len(X) // 5]))


def clusters(book, sizes, data):
    X, y = digits(data, sizes.digits)

    def fit(device):
        begun = time.perf_counter()
        model = ICONClustering(N_CLASSES, random_state=0, device=device).fit(X)
        return {
            "seconds": time.perf_counter() - begun,
            **{f"seconds of {stage}": taken for stage, taken in model.timings_.items()},
            "nmi": normalized_mutual_info_score(y, model.labels_),
        }

    ICONClustering(N_CLASSES, random_state=0).fit(X[:6000])
    book.measure(f"clusters of {len(X)} digits", fit)


def head(book, sizes, data, seconds=45):
    """A linear head, slice by slice, until all rows or the time is used up."""
    n_rows, n_slice, n_columns, n_clusters, batch = sizes.head
    centres = torch.randn(n_clusters, n_columns, generator=torch.Generator().manual_seed(0))

    def planted(seed):
        generator = torch.Generator(CARD).manual_seed(seed)
        y = torch.randint(n_clusters, (n_slice,), generator=generator, device=CARD)
        noise = torch.randn(n_slice, n_columns, generator=generator, device=CARD)
        return (centres.to(CARD)[y] + noise).cpu().numpy(), y.cpu().numpy()

    def learn(device):
        model = ICONClustering(
            n_clusters, q=Cluster(mass_momentum=0.9), mapper="linear", engine=MiniBatch(batch), init="k-means++",
            n_init=1, max_iter=5, random_state=0, device=device,
        )  # fmt: skip
        taken, stages = [], []
        begun = time.perf_counter()
        for k in range(max(2, n_rows // n_slice)):
            X, y = planted(k)
            at = time.perf_counter()
            model.partial_fit(X)
            taken.append(time.perf_counter() - at)
            stages.append(dict(model.timings_))
            print(f"slice {k}: {taken[-1]:.2f} s, {model.timings_}", flush=True)
            if k and time.perf_counter() - begun + taken[-1] > seconds:
                break
        X, y = planted(k + 1)
        at = time.perf_counter()
        labels = model.predict(X)
        answering = time.perf_counter() - at
        return {
            "rows": n_slice * len(taken),
            "seconds of the first slice": taken[0],
            "seconds of another slice": np.median(taken[1:]),
            **{f"seconds of {stage} in it": spent for stage, spent in stages[-1].items()},
            "ms a batch": 1e3 * stages[-1].get("optimisation", np.nan) / model.n_iter_ / -(-n_slice // batch),
            "seconds for all rows": taken[0] + np.median(taken[1:]) * (n_rows / n_slice - 1),
            "predicted rows a second": n_slice / answering,
            "nmi of new rows": normalized_mutual_info_score(y, labels),
            **peak(device),
        }

    book.measure(f"head of {n_clusters} clusters, {n_columns} columns", learn)


def peers(book, sizes, data):
    """TorchDR's UMAP, where it is installed."""
    if importlib.util.find_spec("torchdr") is None:
        print("torchdr is not installed")
        return
    import torchdr

    X, y = digits(data, sizes.digits)

    def umap(device):
        begun = time.perf_counter()
        Z = torchdr.UMAP(n_neighbors=15, device=device, backend=None, random_state=0).fit_transform(X)
        settled()
        return {"seconds": time.perf_counter() - begun, **quality(X, Z, y), **peak(device)}

    for case in ("first fit of a process", "second fit"):
        book.measure(f"torchdr {torchdr.__version__} UMAP of {len(X)} digits, {case}", umap)


# -- what a step is made of --------------------------------------------------------------------------------


class Window:
    """A callback that profiles some of the steps."""

    def __init__(self, first, last):
        self.first, self.last, self.steps, self.seconds = first, last, 0, 0.0
        activities = [torch.profiler.ProfilerActivity.CPU]
        if CARD == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self.profiler = torch.profiler.profile(activities=activities)

    def __call__(self, record):
        if self.steps == 0 and record.iteration >= self.first:
            settled()
            self.profiler.start()
            self.begun, self.at, self.steps = time.perf_counter(), record.iteration, -1
        elif self.steps < 0 and record.iteration >= self.last:
            settled()
            self.seconds, self.steps = time.perf_counter() - self.begun, record.iteration - self.at
            self.profiler.stop()
            return True
        return False


def profiled(model, X, first, last, batches, device):
    window = Window(first, last)
    warnings.simplefilter("ignore")
    model.set_params(callback=window, device=device).fit(X)
    events = window.profiler.key_averages()
    steps = window.steps * batches
    on_card = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels = [event for event in on_card if not event.key.startswith(("Mem", "cuda"))]

    def count(pattern):
        return sum(event.count for event in events if re.match(pattern, event.key)) / steps

    print(events.table(sort_by="self_device_time_total", row_limit=40, max_name_column_width=90))
    print(events.table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=60))
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:25]:
        print(
            f"{event.count / steps:7.1f} a step {event.self_device_time_total / steps:9.1f} us  {event.key[:130]}"
        )
    return {
        "kernels a step": sum(event.count for event in kernels) / steps,
        "waits a step": count(r"cuda(Stream|Device|Event)Synchronize"),
        "copies to the host a step": count("Memcpy DtoH"),
        "copies to the card a step": count("Memcpy HtoD"),
        "operations a step": count("aten::"),
        "card busy, ms a step": sum(event.self_device_time_total for event in on_card) / steps / 1e3,
        "ms a step under the profiler": 1e3 * window.seconds / steps,
    }


def profile(book, sizes, data):
    X, _ = digits(data, sizes.digits)
    grid = ICONEmbedding(random_state=0, init="pca", tol=0, max_iter=100)
    few = X[: min(900, len(X))]
    network = ICONEmbedding(
        p="views", q="cosine", mapper="mlp", engine=MiniBatch(512), max_iter=3, tol=0, random_state=0
    )
    rows = X[: min(len(X), 8192)]
    # Each row has two views, and half of a batch are anchors, which bring a view each along.
    batches = 2 * len(rows) / 256
    ICONEmbedding(max_iter=5, random_state=0).fit(X[:6000])
    book.measure(f"map of {len(X)} digits", partial(profiled, grid, X, 40, 60, 1))
    book.measure(f"map of {len(few)} digits, all pairs", partial(profiled, grid, few, 40, 60, 1))
    book.measure("network of views, batches of 512", partial(profiled, network, rows, 1, 2, batches))


def whole(book, sizes, data):
    """What the GPU and the host do in a whole fit, without a callback: stretches, recorded steps and all stages."""
    warnings.simplefilter("ignore")
    sets = {f"map of {sizes.digits} digits": digits(data, sizes.digits)[0]}
    sets[f"map of {sizes.million} rows"] = mixture(sizes.million)
    ICONEmbedding(random_state=0).fit(sets[f"map of {sizes.digits} digits"])
    activities = [torch.profiler.ProfilerActivity.CPU]
    if CARD == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)

    def fit(X, device):
        with torch.profiler.profile(activities=activities) as profiler:
            model = ICONEmbedding(random_state=0, device=device).fit(X)
            settled()
        events = profiler.key_averages()
        on_card = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
        print(events.table(sort_by="self_device_time_total", row_limit=40, max_name_column_width=90))
        print(events.table(sort_by="self_cpu_time_total", row_limit=40, max_name_column_width=60))

        def count(pattern):
            return sum(event.count for event in events if re.match(pattern, event.key))

        return {
            **{f"seconds of {stage}, profiled": taken for stage, taken in model.timings_.items()},
            "steps": model.n_iter_,
            "replays of a graph": count("cudaGraphLaunch"),
            "launches one by one": count("cudaLaunchKernel|cuLaunchKernel"),
            "waits": count(r"cuda(Stream|Device|Event)Synchronize"),
            "card busy, seconds": sum(event.self_device_time_total for event in on_card) / 1e6,
        }

    for name, X in sets.items():
        book.measure(name, partial(fit, X))


def machine(book, sizes, data):
    """What the card is and how quick its plainest work is."""
    for command in ("nvidia-smi", "lscpu"):
        found = subprocess.run(f"{command} | head -20", shell=True, capture_output=True, text=True)
        print(found.stdout)
    names = ("scikit-learn", "scipy", "numba", "pynndescent", "pytest", "hypothesis", "triton", "torchdr")
    for name in names:
        try:
            print(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            print(name, "is not there")
    print("CUDA", torch.version.cuda)

    def plain(device):
        begun = time.perf_counter()
        torch.zeros(1, device=device).add_(1)
        settled()
        context = time.perf_counter() - begun
        n = 4096 if device == "cuda" else 256
        A = torch.randn(n, n, device=device)
        flat = torch.randn(n * n * 16, device=device)
        out = torch.empty_like(flat)
        host, doubled = torch.randn(n * n), A.double()
        return {
            "seconds to the first kernel": context,
            "GB/s, copy": 2 * flat.nbytes / seconds_of(lambda: out.copy_(flat)) / 1e9,
            "GB/s, from pageable memory": host.nbytes / seconds_of(lambda: host.to(device, copy=True)) / 1e9,
            "GB/s, to pageable memory": A.nbytes / seconds_of(lambda: A.to("cpu", copy=True)) / 1e9,
            "TFLOP/s, float32": 2e-12 * n**3 / seconds_of(lambda: A @ A),
            "TFLOP/s, float64": 2e-12 * n**3 / seconds_of(lambda: doubled @ doubled),
        }

    book.measure("plain work", plain)


def pieces(book, sizes, data):
    """Ways to do what a step does: launches, spreading, sums over edges, transforms, products."""
    n, k, side = sizes.million, 30, 1024

    def launches(device):
        one = torch.zeros(1, device=device)

        def hundred():
            for _ in range(100):
                one.add_(1)

        found = {
            "us a kernel": 1e4 * seconds_of(hundred),
            "us a wait": 1e6 * seconds_of(lambda: float(one)),
        }
        if device == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                hundred()
            found["us a kernel in a graph"] = 1e4 * seconds_of(graph.replay)
        return found

    def spreading(device):
        near = torch.randn(n, 2, device=device).mul_(side / 12).add_(side / 2).clamp_(2, side - 3).long()
        shifts = torch.tensor([[i, j] for i in range(4) for j in range(4)], device=device)
        at = ((near[:, None] + shifts - 1) * torch.tensor([side, 1], device=device)).sum(-1).reshape(-1)
        values = torch.randn(len(at), device=device)
        order = at.argsort(stable=True)
        ordered, moved = at[order], values[order]
        lengths = torch.bincount(at, minlength=side * side)

        def into(dtype):
            return torch.zeros(side * side, dtype=dtype, device=device)

        def ways():
            yield "index_put_", lambda: into(torch.float32).index_put_((at,), values, accumulate=True)
            yield "index_add_", lambda: into(torch.float32).index_add_(0, at, values)
            yield "index_add_, sorted", lambda: into(torch.float32).index_add_(0, ordered, moved)
            yield "index_add_, float64", lambda: into(torch.float64).index_add_(0, at, values.double())
            yield "sort of keys", lambda: at.argsort()
            yield "sort of rows", lambda: near[:, 0].mul(side).add(near[:, 1]).argsort()
            yield "segment sums", lambda: torch.segment_reduce(moved, "sum", lengths=lengths)
            yield "bincount", lambda: torch.bincount(at, values, minlength=side * side)
            yield "gather", lambda: values[order]

        return {f"ms, {name}": 1e3 * seconds_of(way, 5) for name, way in ways()}

    def edges(device):
        i = torch.arange(n, device=device).repeat_interleave(k)
        j = torch.randint(n, (n * k,), device=device)
        w, Z = torch.rand(n * k, device=device), torch.randn(n, 2, device=device)
        starts = torch.arange(0, n * k + 1, k, device=device)

        def product(kind):
            A = torch.sparse_csr_tensor(starts.to(kind), j.to(kind), w, (n, n))
            return lambda: A @ Z

        j32 = j.int()

        def ways():
            yield "csr, int64", product(torch.int64)
            yield "csr, int32", product(torch.int32)
            yield "index_add_", lambda: torch.zeros(n, 2, device=device).index_add_(0, i, w[:, None] * Z[j])
            yield "gather, int64", lambda: w[:, None] * Z[j]
            yield "gather, int32", lambda: w[:, None] * Z.index_select(0, j32)
            yield (
                "segment sums",
                lambda: torch.segment_reduce(w[:, None] * Z[j], "sum", offsets=starts, unsafe=True),
            )
            yield "rows of one length", lambda: (w[:, None] * Z[j]).view(n, k, 2).sum(1)

        warnings.simplefilter("ignore")
        return {f"ms, {name}": 1e3 * seconds_of(way, 5) for name, way in ways()}

    def transforms(device):
        found = {}
        for size in (side // 2, side, 2 * side):
            for dtype in (torch.float32, torch.float64):
                grid = torch.randn(4, size, size, dtype=dtype, device=device)
                name = f"ms, 4 of {size} x {size}, {dtype}".replace("torch.", "")
                found[name] = 1e3 * seconds_of(lambda grid=grid: torch.fft.irfft2(torch.fft.rfft2(grid)), 5)
        return found

    def products(device):
        X = torch.randn(n // 5, N_COLUMNS, device=device)
        found, halves = {}, X.half()
        for rows in (64, 512, 2048):
            block, scale = X[:rows], len(X) / rows  # seconds are those for all rows against all
            out = block @ X.T
            whole = out[:, : out.shape[1] // 256 * 256].view(len(out), -1, 256)
            ways = {
                "products": partial(torch.mm, block, X.T),
                "products in half precision": partial(torch.mm, halves[:rows], halves.T),
                "topk": partial(out.topk, 16),
                "folds": partial(whole.amax, 1),
            }
            for name, way in ways.items():
                found[f"s, {name} by {rows}"] = scale * seconds_of(way, 5)
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            found["s, products in tf32 by 2048"] = scale * seconds_of(lambda: block @ X.T, 5)
            torch.backends.cuda.matmul.allow_tf32 = False
        return found

    def compiled(device):
        x = torch.randn(16 * n, device=device)

        def work(x):
            for _ in range(8):
                x = x * x.clamp(-1, 1) + 0.1
            return x

        fused = torch.compile(work)
        begun = time.perf_counter()
        fused(x)
        settled()
        return {
            "seconds to compile": time.perf_counter() - begun,
            "ms, plain": 1e3 * seconds_of(lambda: work(x), 5),
            "ms, compiled": 1e3 * seconds_of(lambda: fused(x), 5),
        }

    for function in (launches, spreading, edges, transforms, products, compiled):
        book.measure(function.__name__, function)


# -- the tests ---------------------------------------------------------------------------------------------


def tests(book, sizes, data):
    """The tests marked gpu, and a part of the suite with device="auto" meaning the card."""
    short = ("tests/test_optim.py",) if sizes == SMOKE else TESTS
    jobs = min(8, len(os.sched_getaffinity(0)))

    def run(arguments, device):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *arguments]
        found = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        lines = found.stdout.splitlines()
        print("\n".join(lines), found.stderr[-2000:])
        for line in [line for line in lines if line.startswith(("FAILED", "ERROR"))][:40]:
            print(f"{FIGURES}{line[:120]}")
        counts = dict(reversed(pair.split()) for pair in re.findall(r"\d+ \w+", lines[-1])) if lines else {}
        if not counts:
            raise RuntimeError(f"pytest ended with {found.returncode}: {found.stderr[-200:]}")
        return {name: int(counts.get(name, 0)) for name in ("passed", "failed", "errors", "skipped")}

    book.measure("marked gpu", partial(run, ["-m", "gpu", *marked()]))
    book.measure("a part of the suite", partial(run, ["-n", str(jobs), *short]))


RUN = {
    "machine": machine,
    "tests": tests,
    "bits": bits,
    "agree": agree,
    "mnist": digits_twice,
    "cpu": digits_on_cpu,
    "million": million,
    "clusters": clusters,
    "head": head,
    "profile": profile,
    "whole": whole,
    "pieces": pieces,
    "peers": peers,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("stage", choices=RUN)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("data")
    parser.add_argument("--smoke", action="store_true")
    chosen = parser.parse_args()
    book = Book({"cpu": "mnist"}.get(chosen.stage, chosen.stage), chosen.out)
    RUN[chosen.stage](book, SMOKE if chosen.smoke else FULL, chosen.data)
    if book.failed:
        sys.exit(f"failed: {', '.join(book.failed)}")
