"""Sampled columns: all of them are exact; fewer give sums without bias, and logs whose bias shrinks."""

import numpy as np
import pytest
import torch
from reference import FLOAT64, OTHERS, evaluate, make_problem, places, random_rows, sparse_p
from scipy import sparse
from sklearn.base import clone

from iconlearn import ICONEmbedding
from iconlearn.conditional import Conditional
from iconlearn.divergences import JensenShannon
from iconlearn.engines import Dense, Mesh, Sampled, choose
from iconlearn.engines._sampled import MEMORY
from iconlearn.estimators import _embedding
from iconlearn.learned import Dot, Gaussian, Student
from iconlearn.loss import loss
from iconlearn.numerics import threads
from iconlearn.numerics.geometry import pairs

N = 60
P = sparse_p(random_rows(N, density=0.08, self_pairs=False), mass=np.arange(1.0, N + 1), self_pairs=False)
Z = places(N, 5, seed=1)


def sums_of(problem, engine, n_draws):
    """Estimates of the row sums by repeated draws, shape (n_draws, N)."""
    U = problem.rows.at().detach()
    visits = engine.visits(problem, rng=np.random.RandomState(0), **FLOAT64)
    drawn = (next(visits)[0] for _ in range(n_draws))
    return torch.stack([engine.log_sums(problem.q, U, U, visit) for visit in drawn]).exp()


@pytest.mark.parametrize("normalize", ["row", "joint"])
@pytest.mark.parametrize("dof", [0.5, 1.0])
def test_all_columns_are_exact(dof, normalize):
    problem = make_problem(P, Student(dof, normalize=normalize), Z)
    sampled, dense = evaluate(problem, Sampled(N)), evaluate(problem, Dense())
    assert sampled[0] == pytest.approx(dense[0], abs=1e-12)
    for a, b in zip(sampled[1], dense[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_sums_have_no_bias_and_their_logs_less_with_more_columns():
    problem = make_problem(P, Student(), Z)
    U = problem.rows.at().detach()
    exact = Dense().log_sums(problem.q, U, U, OTHERS).exp()
    bias = []
    for n_columns in (5, 20):
        sums = sums_of(problem, Sampled(n_columns), 3000)
        error = (sums.mean(0) - exact) / (sums.std(0) / 3000**0.5)
        assert error.abs().max() < 4.5
        bias.append(float((exact.log() - sums.log().mean(0)).mean()))
    assert all(b > 0 for b in bias)
    # Without replacement the variance is that of 1 / m - 1 / n.
    predicted = np.array([1 / m - 1 / N for m in (5, 20)])
    np.testing.assert_allclose(bias / predicted, (bias / predicted)[-1], rtol=0.35)


def test_columns_are_drawn_anew_at_every_step_by_the_seed():
    problem = make_problem(P, Student(), Z)

    def columns(seed):
        visits = Sampled(7).visits(problem, rng=np.random.RandomState(seed), **FLOAT64)
        return [next(visits)[0].sample.columns.tolist() for _ in range(3)]

    assert columns(0) == columns(0) != columns(1)
    first, second, _ = columns(0)
    assert first != second and len(set(first)) == 7


@pytest.mark.parametrize("self_pairs", [True, False])
def test_drawn_neighbours_are_left_out_however_they_are_found(self_pairs):
    p = sparse_p(random_rows(N, density=0.2, self_pairs=self_pairs), self_pairs=self_pairs)
    problem = make_problem(p, Student(), Z)
    q, U = problem.q, problem.rows.at().detach()

    def kernel(edges):
        return q.log_kernel(pairs(q.scalar, U, U, edges)).exp()

    sample = next(Sampled(17).visits(problem, rng=np.random.RandomState(0), **FLOAT64))[0].sample
    edges = sample.again()
    itself = q.log_kernel(torch.zeros(1, **FLOAT64)).exp()
    found = sample.sums_again(kernel(sample.near), itself)
    torch.testing.assert_close(found, edges.row_sums(kernel(edges)))
    assert found.count_nonzero() > N / 2


@pytest.mark.parametrize(
    "q, options",
    [
        (Gaussian(), {}),
        (Dot(), {}),
        (Student(debias=0.1), {}),
        (Student(), {"divergence": JensenShannon()}),
        (Student(), {"columns": places(N, 5)}),
    ],
)
def test_what_it_cannot_do_is_refused_with_another_way(q, options):
    assert "minibatch" in Sampled().refuses(make_problem(P, q, Z, **options))
    assert Sampled().refuses(make_problem(P, Student(), Z)) is None


def test_steps_divide_by_the_mean_of_the_last_sums():
    problem = make_problem(P, Student(), Z)
    q, U, engine = problem.q, problem.rows.at().detach().requires_grad_(), Sampled(10)
    visits = engine.visits(problem, rng=np.random.RandomState(0), **FLOAT64)
    means = None
    for _ in range(5):
        visit = next(visits)[0]
        with torch.no_grad():
            now = engine.log_sums(q, U, U, visit).exp()
        means = now if means is None else MEMORY * means + (1 - MEMORY) * now
        logs = engine.log_sums(q, U, U, visit)
        torch.testing.assert_close(logs, means.log())
        (found,) = torch.autograd.grad(logs.sum(), U)
    # Of one sample of columns the sums are a function of places, whose slopes are found by differences.
    step = 1e-6 * torch.as_tensor(places(N, 5, seed=2))
    with torch.no_grad():
        ahead, back = (engine.log_sums(q, V, V, visit).exp() for V in (U + step, U - step))
        assert float((found * step).sum()) == pytest.approx(
            float(((ahead - back) / (2 * means)).sum()), rel=1e-5
        )


@pytest.mark.parametrize("self_pairs", [True, False])
def test_one_compiled_loop_finds_what_plain_operations_do(self_pairs, monkeypatch):
    n = 61  # rows are met four at a time
    p = sparse_p(random_rows(n, density=0.1, self_pairs=self_pairs), self_pairs=self_pairs)
    problem = make_problem(p, Student(), places(n, 5))
    problem.rows.mapper.float()
    U, engine = problem.rows.mapper.places, Sampled(13)

    def steps(least, pull):
        monkeypatch.setattr(threads, "MANY_POINTS", least)
        visits = engine.visits(problem, rng=np.random.RandomState(0), dtype=torch.float32, device=U.device)
        for step in range(3):  # means of sums are those of several steps
            (visit,) = next(visits)
            with torch.no_grad():
                U.copy_(torch.as_tensor((1 + 0.2 * step) * places(n, 5, seed=step)))
            value = loss(problem, engine, visit, pull)
            (gradient,) = torch.autograd.grad(value, U)
            yield value.detach(), gradient, visit.sample.means.clone()

    for plain, fused in zip([*steps(n + 1, 1.5)], [*steps(n, 1.5)], strict=True):
        torch.testing.assert_close(plain, fused, rtol=2e-5, atol=2e-6)

    # Of a first step the loss is a function of places, whose slopes are found by differences in double precision.
    slope, along = next(steps(n, 1.0))[1].double(), torch.as_tensor(places(n, 5, seed=9))
    exact = make_problem(p, Student(), places(n, 5, seed=0))
    visit = next(engine.visits(exact, rng=np.random.RandomState(0), **FLOAT64))[0]
    ends = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            exact.rows.mapper.places += step * along
            ends.append(float(loss(exact, engine, visit)))
    assert float((slope * along).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_a_map_settles_by_shorter_steps(monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 8)) + 4 * np.eye(8)[np.arange(300) % 8]
    model = ICONEmbedding(5, engine=Sampled(20), max_iter=100, random_state=0)
    phases = model.fit(X).loss_phases_
    assert list(phases[-45:]) == ["settling"] * 45 and "settling" not in phases[:-45]
    loss = model.loss_
    monkeypatch.setattr(_embedding, "LARGE_DRAWN", 50)
    assert clone(model).set_params(max_iter="auto", tol=0.0).fit(X[:50]).n_iter_ == 150
    monkeypatch.setattr(_embedding, "SETTLING", ())
    assert model.fit(X).loss_ > 1.02 * loss


def test_from_some_thousand_rows_on_columns_are_drawn():
    n = 5100
    edges = sparse.csr_array((np.ones(n), np.roll(np.arange(n), 1), np.arange(n + 1)), shape=(n, n))
    p = Conditional(edges, self_pairs=False)
    for rows, engine in ((places(n, 4), Sampled), (places(n, 2), Mesh)):
        assert isinstance(choose([make_problem(p, Student(), rows)]), engine)
    assert isinstance(choose([make_problem(p, Gaussian(), places(n, 4))]), Dense)


def test_wide_maps_of_many_rows_take_it(monkeypatch):
    problem = make_problem(P, Student(), Z)
    candidates = (Dense(max_pairs=N * N - 1), Sampled(5))
    assert isinstance(choose([problem], candidates), Sampled)


def test_a_map_of_five_dimensions_is_near_the_exact_one():
    X = np.random.default_rng(0).normal(size=(600, 8)) + 6 * np.eye(8)[np.arange(600) % 8]
    dense = ICONEmbedding(5, engine="dense", random_state=0).fit(X)
    model = ICONEmbedding(5, engine=Sampled(300), random_state=0).fit(X)
    assert model.engine_.n_columns == 300
    reached = ICONEmbedding(5, engine="dense", init=model.embedding_, max_iter=1, random_state=0).fit(X)
    first, last = dense.loss_history_[0], dense.loss_
    assert reached.loss_history_[0] - last < 0.1 * (first - last)
    again = clone(model).fit(X)
    np.testing.assert_array_equal(again.embedding_, model.embedding_)
