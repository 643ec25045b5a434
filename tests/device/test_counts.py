"""What a step costs on a device, counted: kernels, waits of the host, double precision, sums without a fixed order.

The counts do not depend on the number of rows where an engine takes one tile or one batch. `COUNTS` holds the largest
of any step. They may fall and must not grow: whoever makes a step cheaper lowers them, here and in doc/device.md.
"""

import itertools
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from device import kernels, pretended
from sklearn.base import clone
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.engines import MiniBatch
from iconlearn.optim import _stretch
from iconlearn.optim._momentum import MomentumGains

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)
PAGE = Path(__file__).parents[2] / "doc" / "device.md"


class Counts(NamedTuple):
    kernels: int
    waits: int
    doubles: int
    unordered: int


VIEWS = {"p": "views", "q": "cosine", "mapper": "mlp"}
FITS = {
    "map, Mesh, 1-D": (ICONEmbedding(1, engine="mesh"), 1200),
    "map, Mesh, 2-D": (ICONEmbedding(engine="mesh"), 1200),
    # Short steps: a map so wide that exact sums take the place of its grid is counted below, as that of Dense.
    "map, Mesh, 3-D": (ICONEmbedding(3, engine="mesh", learning_rate=25.0), 1200),
    "map, Dense, one tile": (ICONEmbedding(engine="dense"), 500),
    "map, Sampled, 5-D": (ICONEmbedding(5, engine="sampled"), 1000),
    "map, MiniBatch, a batch": (ICONEmbedding(engine=MiniBatch(256)), 256),
    "network of views, MiniBatch, a batch": (ICONEmbedding(**VIEWS, engine=MiniBatch(256)), 128),
    "classifier, network, a batch": (ICONClassifier(mapper="mlp"), 200),
    "classifier, linear, L-BFGS": (ICONClassifier(), 500),
    "clusters, Dense, one tile": (ICONClustering(10, engine="dense", n_init=1), 500),
}
# By fit: the least and the most of any step. A mesh step costs the most where it lays a new grid.
COUNTS = {
    "map, Mesh, 1-D": (Counts(96, 6, 0, 0), Counts(127, 8, 24, 0)),
    "map, Mesh, 1-D, between looks": (Counts(58, 0, 0, 0), Counts(58, 0, 0, 0)),
    "map, Mesh, 2-D": (Counts(98, 6, 0, 0), Counts(145, 8, 37, 0)),
    "map, Mesh, 2-D, between looks": (Counts(60, 0, 0, 0), Counts(60, 0, 0, 0)),
    "map, Mesh, 3-D": (Counts(101, 6, 0, 0), Counts(263, 8, 50, 0)),
    "map, Mesh, 3-D, between looks": (Counts(62, 0, 0, 0), Counts(62, 0, 0, 0)),
    "map, Mesh, 2-D, Triton, between looks": (Counts(20, 0, 0, 0), Counts(20, 0, 0, 0)),
    "map, Dense, one tile": (Counts(78, 1, 0, 0), Counts(83, 1, 0, 0)),
    "map, Dense, one tile, between looks": (Counts(80, 0, 0, 0), Counts(80, 0, 0, 0)),
    "map, Dense, one tile, Triton, between looks": (Counts(67, 0, 0, 0), Counts(67, 0, 0, 0)),
    "map, Sampled, 5-D": (Counts(143, 1, 0, 0), Counts(147, 1, 0, 0)),
    "map, Sampled, 5-D, between looks": (Counts(144, 0, 0, 0), Counts(144, 0, 0, 0)),
    "map, MiniBatch, a batch": (Counts(110, 1, 0, 0), Counts(110, 1, 0, 0)),
    "network of views, MiniBatch, a batch": (Counts(128, 2, 0, 0), Counts(128, 2, 0, 0)),
    "classifier, network, a batch": (Counts(87, 1, 0, 1), Counts(87, 1, 0, 1)),
    "classifier, linear, L-BFGS": (Counts(79, 10, 0, 1), Counts(168, 29, 0, 2)),
    "clusters, Dense, one tile": (Counts(49, 1, 49, 0), Counts(50, 1, 50, 0)),
}


def fit_of(name):
    """The fit that a row of the table is about."""
    return name.removesuffix(", between looks").removesuffix(", Triton")


def counts(events):
    def of(*kinds):
        return sum(n for (kind, _, _), n in events.items() if kind in kinds)

    return Counts(
        of(pretended.KERNEL), of(*pretended.WAITING), of(pretended.DOUBLE), of(pretended.UNORDERED_SUM)
    )


def steps_of(model, n):
    """The events of every step but the first, which also includes what a fit does once."""
    seen = []
    with pretended.watch() as watched:
        model.set_params(
            random_state=0, max_iter=50, callback=lambda record: seen.append(Counter(watched.events))
        ).fit(X[:n], Y[:n])
    return [later - earlier for earlier, later in itertools.pairwise(seen)]


def steps_between_looks(model, n, monkeypatch, *, recorded, max_iter=40):
    """The events of the steps after which the host looks at nothing, as they are launched or as they are repeated."""
    stretches = []
    owner, step = (_stretch._Recording, "repeat") if recorded else (MomentumGains, "step")
    take, once = _stretch.Stretches.take, getattr(owner, step)
    if not recorded:
        monkeypatch.setattr(_stretch, "LEAST_REPETITIONS", np.inf)

    def taking(*args):
        stretches.append([])
        try:
            return take(*args)
        finally:
            stretches.append(None)  # what follows may be single steps

    def stepping(*args):
        if stretches and stretches[-1] is not None:
            stretches[-1].append(Counter(watched.events))
        return once(*args)

    monkeypatch.setattr(_stretch.Stretches, "take", taking)
    monkeypatch.setattr(owner, step, stepping)
    with pretended.watch() as watched:
        clone(model).set_params(random_state=0, max_iter=max_iter, callback=None).fit(X[:n], Y[:n])
    # The first step of a stretch chooses what the others go by, and the second one may be recorded.
    stretches = [seen if recorded else seen[1:] for seen in filter(None, stretches)]
    steps = [pair for seen in stretches for pair in itertools.pairwise(seen)]
    return [later - earlier for earlier, later in steps]


@pytest.mark.pretended
@pytest.mark.parametrize("name", COUNTS)
def test_a_step_does_not_cost_more(name, monkeypatch):
    if name in FITS:
        steps = steps_of(*FITS[name])
    else:
        model, n = FITS[fit_of(name)]
        few = {}
        if ", Triton" in name:
            if kernels.reason_against() is not None:
                pytest.skip(f"kernels: {kernels.reason_against()}")
            kernels.use_on_the_pretended_device(monkeypatch)
            n, few = min(n, 300), {"max_iter": 10}  # the interpreter takes long
        steps = steps_between_looks(model, n, monkeypatch, recorded=False, **few)
    found = np.array([counts(events) for events in steps])
    assert len(found) > 3 and found[:, 0].min() > 0
    least, most = (Counts(*map(int, row)) for row in (found.min(0), found.max(0)))
    costly = max(steps, key=lambda events: counts(events).waits)
    lines = "\n".join(f"{n:4d}  {' '.join(key)}" for key, n in costly.items() if key[0] != pretended.KERNEL)
    grown = [
        f"{kind}: {now}, was {before}"
        for bound, counted in zip(COUNTS[name], (least, most))
        for kind, before, now in zip(Counts._fields, bound, counted)
        if now > before
    ]
    assert not grown, f"{name}: {grown}; the step with the most waits:\n{lines}"


def test_the_page_has_these_counts():
    text = PAGE.read_text("utf-8")
    for name, (least, most) in COUNTS.items():
        ranges = (f"{a}" if a == b else f"{a} to {b}" for a, b in zip(least, most))
        assert f"| {name} | {' | '.join(ranges)} |" in text
    assert FITS.keys() == set(map(fit_of, COUNTS))


@pytest.mark.pretended
@pytest.mark.parametrize(
    "name", ["map, Mesh, 1-D", "map, Mesh, 2-D", "map, Dense, one tile", "map, Sampled, 5-D"]
)
def test_a_recorded_step_is_a_few_launches(name, monkeypatch):
    steps = [counts(events) for events in steps_between_looks(*FITS[name], monkeypatch, recorded=True)]
    # The losses are put aside; the sampled engine draws its columns on the host, and copies them.
    assert len(steps) > 4 and set(steps) == {Counts(2 if "Sampled" in name else 1, 0, 0, 0)}


# -- that the counts are right ----------------------------------------------------------------------------


CALLS = {
    "two kernels": (lambda x: (x + 1) * 2, Counts(2, 0, 0, 0)),
    "a view": (lambda x: x.t()[1:].flatten(), Counts(1, 0, 0, 0)),
    "an item": (lambda x: float(x[0, 0]), Counts(1, 1, 0, 0)),
    "a size that depends on values": (lambda x: x.nonzero(), Counts(1, 1, 0, 0)),
    "a copy to the host": (lambda x: x.cpu(), Counts(1, 1, 0, 0)),
    "a copy to the device": (lambda x: torch.ones(3).to(x.device), Counts(1, 1, 0, 0)),
    "a pinned copy": (
        lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True),
        Counts(1, 0, 0, 0),
    ),
    "synchronisation": (lambda x: torch.cuda.synchronize(), Counts(0, 1, 0, 0)),
    "double precision": (lambda x: x.double(), Counts(1, 0, 1, 0)),
    "a sum without a fixed order": (
        lambda x: x.index_add_(0, torch.zeros(2, dtype=torch.int64, device=x.device), x[:2].clone()),
        Counts(3, 0, 0, 1),
    ),
    "a backward pass": (lambda x: x.requires_grad_().sum().backward(), Counts(3, 0, 0, 0)),
}


@pytest.mark.pretended
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_counted(name):
    call, expected = CALLS[name]
    x = torch.ones(6, 4).cuda()
    with pretended.watch() as watched:
        call(x)
    assert counts(watched.events) == expected, watched.events


@pytest.mark.pretended
def test_a_line_of_the_library_is_named():
    with pretended.watch() as watched:
        ICONEmbedding(engine="dense", max_iter=2).fit(X[:100])
    lines = {line for kind, _, line in watched.events if kind == "item"}
    assert any(re.fullmatch(r"iconlearn/[\w/]+\.py:\d+", line) for line in lines)


@pytest.mark.pretended
def test_a_captured_step_runs_again_and_raises_at_a_wait():
    x, graph = torch.ones(3).cuda(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = x * 2
        y += 1
    x += 1
    graph.replay()
    assert y.tolist() == [5.0] * 3
    for wait in (lambda: float(x[0]), lambda: x.nonzero(), lambda: x.cpu(), torch.cuda.synchronize):
        with (
            pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
            torch.cuda.graph(graph),
        ):
            wait()
    assert not torch.cuda.is_current_stream_capturing()
