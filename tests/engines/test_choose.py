"""Which engine takes a problem, and what the others say."""

import numpy as np
import pytest
import torch
from reference import block_p, make_problem, places, random_rows, sparse_p

from iconlearn.divergences import Hellinger, ReverseKL
from iconlearn.engines import ORDER, Closed, Dense, Mesh, MiniBatch, Partition, Sampled, choose
from iconlearn.learned import Cluster, Student
from iconlearn.objective import Points, Problem

N = 12
P = random_rows(N, density=0.4)
Z = places(N, 3)


def clusters(p=None, **parameters):
    return make_problem(sparse_p(P) if p is None else p, Cluster(**parameters), Z)


def test_the_order():
    exact = [Closed, Partition, Dense, Mesh, Dense]
    assert [type(engine) for engine in ORDER] == [*exact, Sampled, Dense, MiniBatch]
    assert isinstance(choose([clusters()]), Partition)
    assert isinstance(choose([make_problem(sparse_p(P), Student(), Z)]), Dense)
    small = (Partition(), Dense(max_pairs=100), MiniBatch())
    assert isinstance(choose([make_problem(sparse_p(P), Student(), Z)], small), MiniBatch)


def test_every_term_has_a_say():
    assert isinstance(choose([clusters(), clusters()]), Partition)
    assert isinstance(choose([clusters(), make_problem(sparse_p(P), Student(), Z)]), Dense)


def test_all_reasons_are_given_when_all_refuse():
    problem = make_problem(sparse_p(P), Student(), Z, divergence=ReverseKL())
    with pytest.raises(ValueError, match=r"(?s)full support.*max_pairs=10.*cluster kernel only"):
        choose([problem], (Partition(), Dense(max_pairs=10), MiniBatch()))


def network_problem():
    rows = Points(torch.nn.Linear(3, 2).double(), N, torch.as_tensor(Z))
    return Problem(sparse_p(P), Cluster(), clusters().divergence, rows, rows)


REFUSED = {
    "cluster kernel only": lambda: make_problem(sparse_p(P), Student(), Z),
    "mapper='table'": network_problem,
    "normalize='self'": lambda: clusters(normalize="row"),
    "degree_weighted=False": lambda: clusters(degree_weighted=True),
    "KL only": lambda: make_problem(sparse_p(P), Cluster(), Z, divergence=Hellinger()),
    "sparse p": lambda: clusters(block_p(P)),
    "columns are the rows": lambda: make_problem(sparse_p(P), Cluster(), Z, columns=places(N, 3)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_partition_says_what_it_needs(words):
    assert words in Partition().refuses(REFUSED[words]())


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (Partition(max_exact=-1), "max_exact"),
        (Partition(n_off=0), "n_off"),
        (Dense(block=0), "block"),
        (MiniBatch(batch_size=1), "batch_size"),
        (MiniBatch(n_positives=-1), "n_positives"),
    ],
)
def test_wrong_parameters_are_named(engine, name):
    with pytest.raises(ValueError, match=name):
        engine.refuses(clusters())


def test_the_partition_engine_wants_one_share_for_all_terms():
    with pytest.raises(ValueError, match=r"one debias.*0\.1, 0\.2"):
        Partition().graph([clusters(debias=0.1), clusters(debias=0.2)], np.random.RandomState(0))
