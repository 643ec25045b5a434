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
from device import pretended
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.engines import MiniBatch

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
    "map, Mesh, 3-D": (ICONEmbedding(3, engine="mesh"), 1200),
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
    "map, Mesh, 1-D": (Counts(210, 9, 0, 2), Counts(239, 11, 24, 2)),
    "map, Mesh, 2-D": (Counts(271, 9, 0, 2), Counts(319, 11, 37, 2)),
    "map, Mesh, 3-D": (Counts(288, 7, 0, 2), Counts(400, 11, 50, 2)),
    "map, Dense, one tile": (Counts(116, 3, 0, 2), Counts(120, 3, 0, 2)),
    "map, Sampled, 5-D": (Counts(225, 7, 0, 8), Counts(230, 7, 0, 8)),
    "map, MiniBatch, a batch": (Counts(125, 8, 0, 3), Counts(125, 8, 0, 3)),
    "network of views, MiniBatch, a batch": (Counts(137, 10, 0, 3), Counts(137, 10, 0, 3)),
    "classifier, network, a batch": (Counts(99, 12, 0, 2), Counts(99, 12, 0, 2)),
    "classifier, linear, L-BFGS": (Counts(85, 15, 0, 1), Counts(180, 39, 0, 2)),
    "clusters, Dense, one tile": (Counts(54, 3, 54, 2), Counts(55, 3, 55, 2)),
}


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
            random_state=0, max_iter=40, callback=lambda record: seen.append(Counter(watched.events))
        ).fit(X[:n], Y[:n])
    return [later - earlier for earlier, later in itertools.pairwise(seen)]


@pytest.mark.pretended
@pytest.mark.parametrize("name", FITS)
def test_a_step_does_not_cost_more(name):
    steps = steps_of(*FITS[name])
    found = np.array([counts(events) for events in steps])
    assert len(found) > 10 and found[:, 0].min() > 0
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
    assert FITS.keys() == COUNTS.keys()


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
