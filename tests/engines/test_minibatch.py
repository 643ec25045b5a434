"""Mini-batches: one that covers everything is exact; real ones see p and q restricted to the batch."""

from dataclasses import replace

import numpy as np
import pytest
from reference import (
    FLOAT64,
    block_p,
    evaluate,
    full_loss,
    make_problem,
    places,
    random_rows,
    sparse_p,
)

from iconlearn import ICONClassifier, ICONEmbedding
from iconlearn.conditional import Conditional
from iconlearn.divergences import KL, Hellinger, JensenShannon, TotalVariation
from iconlearn.engines import Dense, MiniBatch, _visit
from iconlearn.engines._minibatch import _Positives
from iconlearn.learned import Cluster, Cosine, Dot, Gaussian, Student, WideGaussian
from iconlearn.loss import loss
from iconlearn.mappers import UnitVectors
from iconlearn.supervisory import KNN, Classes, Labels, Views
from iconlearn.supervisory import Gaussian as GaussianP

N = 24
X = places(N, 3, seed=2)
MASS = np.arange(1.0, N + 1)
P = random_rows(N, density=0.2, self_pairs=False)


def epoch(problem, engine, seed=0):
    return list(next(engine.visits(problem, rng=np.random.RandomState(seed), **FLOAT64)))


@pytest.mark.parametrize("form", [sparse_p, block_p])
@pytest.mark.parametrize(
    "q", [Student(debias=0.1), Gaussian(normalize="joint"), Cluster(), Cosine(learnable=True)]
)
def test_a_batch_of_everything_is_exact(q, form):
    p = form(P, uniform=0.2, mass=MASS, self_pairs=False)
    problem = make_problem(p, q, places(N, 2), divergence=JensenShannon())
    batch, dense = evaluate(problem, MiniBatch(N)), evaluate(problem, Dense())
    assert batch[0] == pytest.approx(dense[0], abs=1e-12)
    for a, b in zip(batch[1], dense[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def restricted(problem, rows, cols, anchors=None):
    """The same problem over some rows and columns, from full matrices; rows that are no anchors weigh nothing."""
    Q = problem.p.sparse().toarray()[rows][:, cols]
    kept = Q.sum(axis=1) > 0
    Q[kept] /= Q[kept].sum(axis=1, keepdims=True)
    mass = problem.p.row_mass[rows] * kept * (1 if anchors is None else np.isin(rows, anchors))
    p = Conditional(sparse_p(Q).edges, problem.p.uniform, mass, problem.p.self_pairs)
    Z = problem.rows.at().detach().numpy()[rows]
    V = None if problem.tied else problem.columns.at().detach().numpy()[cols]
    return make_problem(p, problem.q, Z, columns=V, divergence=problem.divergence)


@pytest.mark.parametrize("kept", [10**9, 0])
@pytest.mark.parametrize("form", [sparse_p, block_p])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_a_batch_is_the_problem_restricted_to_it(form, uniform, kept, monkeypatch):
    monkeypatch.setattr(_visit, "MAX_KEPT", kept)
    p = form(P, uniform=uniform, mass=MASS, self_pairs=False)
    problem = make_problem(p, Student(debias=0.1), places(N, 2), divergence=JensenShannon())
    engine = MiniBatch(7)
    order = np.random.RandomState(0).permutation(N)
    for k, visit in enumerate(epoch(problem, engine)):
        size = 3 if form is sparse_p else 7
        rows, anchors = visit.rows.numpy(), order[size * k : size * (k + 1)]
        assert visit.scale == pytest.approx(MASS[anchors].sum() / MASS.sum() * (8 if form is sparse_p else 4))
        assert (rows == visit.cols.numpy()).all() and len(rows) == len(set(rows)) <= 7
        expected = full_loss(restricted(problem, rows, rows, anchors))
        assert float(loss(problem, engine, visit).detach()) == pytest.approx(expected, abs=1e-10)


def test_rows_without_a_positive_weigh_nothing():
    p = sparse_p(P, mass=MASS, self_pairs=False)
    problem = make_problem(p, Student(), places(N, 2))
    visits = epoch(problem, MiniBatch(6, n_positives=0))
    weights = np.concatenate([visit.mass.numpy() for visit in visits])
    assert (weights == 0).any()
    for visit in visits:
        rows = visit.rows.numpy()
        alone = P[np.ix_(rows, rows)].sum(axis=1) == 0
        np.testing.assert_array_equal(visit.mass.numpy() == 0, alone)
        np.testing.assert_allclose(
            visit.mass.numpy(), np.where(alone, 0, MASS[rows]) / MASS[rows[~alone]].sum()
        )


def test_a_batch_without_any_pair_is_passed_over():
    ring = sparse_p(np.roll(np.eye(N), N // 2, axis=1), self_pairs=False)
    problem = make_problem(ring, Student(), places(N, 2))
    seen = [len(epoch(problem, MiniBatch(2, n_positives=0), seed)) for seed in range(5)]
    assert max(seen) < N // 2


def test_every_row_is_an_anchor_once_and_brings_its_neighbours():
    p = KNN(2).fit(X).conditional_
    problem = make_problem(p, Student(), places(N, 2))
    for n_positives in (1, 2):
        engine = MiniBatch(9, n_positives=n_positives)
        visits = epoch(problem, engine)
        assert len(visits) == N // (9 // (1 + n_positives))
        assert set(np.concatenate([visit.rows.numpy() for visit in visits])) == set(range(N))
        order = np.random.RandomState(0).permutation(N)
        size = 9 // (1 + n_positives)
        for k, visit in enumerate(visits):
            at = dict(zip(visit.rows.tolist(), visit.mass.tolist(), strict=True))
            assert all(at[anchor] > 0 for anchor in order[k * size : (k + 1) * size])


def test_positives_are_drawn_in_proportion_to_p():
    rows = np.zeros((3, 5))
    rows[0, [1, 4]], rows[2, [0, 2, 3]] = [0.8, 0.2], [0.1, 0.3, 0.6]
    draw = _Positives(sparse_p(rows).edges, np.random.RandomState(0))
    counts = np.bincount(draw(np.full(20_000, 2)), minlength=5)
    np.testing.assert_allclose(counts / 20_000, rows[2], atol=0.015)
    np.testing.assert_allclose(
        np.bincount(draw(np.zeros(20_000, int)), minlength=5) / 20_000, rows[0], atol=0.015
    )
    assert len(draw(np.array([1]))) == 0


def test_few_columns_are_all_visited():
    y = np.arange(N) % 4
    problem = make_problem(Classes().fit(X, y).conditional_, Dot(), places(N, 2), columns=places(4, 2))
    visits = epoch(problem, MiniBatch(5))
    assert sorted(np.concatenate([visit.rows.numpy() for visit in visits])) == list(range(N))
    for visit in visits:
        assert visit.cols.tolist() == [0, 1, 2, 3]
        rows = visit.rows.numpy()
        expected = full_loss(restricted(problem, rows, np.arange(4)))
        assert float(loss(problem, Dense(), visit).detach()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("batch_size, n_visits", [(5, 5), (N, 1)])
def test_of_more_classes_than_rows_of_a_batch_all_are_visited(batch_size, n_visits):
    """A class that no row of the batch has is one that all of them are to be far from."""
    p, columns = Classes().fit(X, np.arange(N)).conditional_, places(N, 2, seed=3)
    problem = make_problem(p, Dot(), places(N, 2), columns=columns)
    problem = replace(problem, columns=replace(problem.columns, whole=True))
    engine = MiniBatch(batch_size)
    visits = epoch(problem, engine)
    assert len(visits) == n_visits and engine.estimates(problem) == (n_visits > 1)
    for visit in visits:
        assert visit.cols.tolist() == list(range(N))
        expected = full_loss(restricted(problem, visit.rows.numpy(), np.arange(N)))
        assert float(loss(problem, engine, visit).detach()) == pytest.approx(expected, abs=1e-12)


def test_noise_among_classes_is_drawn_where_it_was_asked_for():
    problem = make_problem(sparse_p(np.eye(N)), Dot(), places(N, N), columns=np.eye(N))
    basis = UnitVectors(N).double()
    problem = replace(problem, columns=replace(problem.columns, mapper=basis, whole=True))
    for visit in epoch(problem, MiniBatch(4, n_negatives=3)):
        rows, cols = visit.rows.numpy(), visit.cols.numpy()
        assert set(rows) <= set(cols) and len(cols) <= 7
        expected = full_loss(restricted(problem, rows, cols))
        assert float(loss(problem, MiniBatch(), visit).detach()) == pytest.approx(expected, abs=1e-12)


def test_of_many_columns_the_positives_are_visited():
    match = np.random.default_rng(0).permutation(N)
    problem = make_problem(sparse_p(np.eye(N)[match]), Cosine(), places(N, 2), columns=places(N, 2, seed=3))
    for visit in epoch(problem, MiniBatch(6)):
        assert visit.cols.tolist() == sorted(match[visit.rows.numpy()])
        rows, cols = visit.rows.numpy(), visit.cols.numpy()
        expected = full_loss(restricted(problem, rows, cols))
        assert float(loss(problem, Dense(), visit).detach()) == pytest.approx(expected, abs=1e-12)


def test_of_many_columns_of_full_rows_a_sample_is_visited():
    p = block_p(random_rows(N, 2 * N))
    problem = make_problem(p, Cosine(), places(N, 2), columns=places(2 * N, 2, seed=3))
    for visit in epoch(problem, MiniBatch(6)):
        assert len(set(visit.cols.tolist())) == 6
        assert float(visit.mass.sum()) == pytest.approx(1)


def test_labels_need_no_positives_brought_along():
    problem = make_problem(Labels().fit(X, np.arange(N) % 3).conditional_, Cosine(), places(N, 2))
    for visit in epoch(problem, MiniBatch(8)):
        assert len(visit.rows) == 8 and float(visit.mass.sum()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_batches_and_epochs_differ():
    problem = make_problem(KNN(3).fit(X).conditional_, Student(), places(N, 2))
    stream = MiniBatch(8).visits(problem, rng=np.random.RandomState(1), **FLOAT64)
    first, second = (np.concatenate([v.rows for v in list(next(stream))]) for _ in range(2))
    again = np.concatenate([v.rows for v in epoch(problem, MiniBatch(8), seed=1)])
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(second) or (first != second).any()


@pytest.mark.parametrize("form", [sparse_p, block_p])
@pytest.mark.parametrize("n_positives", [0, 1, 2])
def test_every_row_weighs_its_mass_in_an_epoch(form, n_positives):
    """Whatever batch it falls in, short ones too, and however often others bring it along."""
    p = form(random_rows(N, self_pairs=False), mass=MASS, self_pairs=False)
    problem = make_problem(p, Student(), places(N, 2))
    for batch_size in (7, 10, 22):
        visits, weight = epoch(problem, MiniBatch(batch_size, n_positives=n_positives)), np.zeros(N)
        for visit in visits:
            weight[visit.rows.numpy()] += visit.scale * visit.mass.numpy() / len(visits)
        np.testing.assert_allclose(weight, MASS / MASS.sum(), rtol=1e-12)


def test_sizes_of_clusters_count_all_rows_of_a_batch():
    """Rows that are brought along have no part in the loss, and all in what is known of the columns."""
    p = KNN(2).fit(X).conditional_
    problem = make_problem(p, Cluster(degree_weighted=True), places(N, 3))
    for visit in epoch(problem, MiniBatch(9)):
        supported = np.isin(np.arange(len(visit.rows)), visit.edges.i)
        np.testing.assert_array_equal(visit.column_weights > 0, supported)
        assert int((visit.mass > 0).sum()) == 4 <= supported.sum()


@pytest.mark.parametrize("batch_size", [64, 410])
def test_rare_classes_weigh_in_batches_what_they_weigh_together(batch_size):
    rng = np.random.default_rng(0)
    y = (np.arange(4000) < 80).astype(int)
    data = rng.normal(size=(4000, 3)) + y[:, None] * [1.0, 0.5, 0.0]
    together = ICONClassifier(class_weight="balanced", random_state=0).fit(data, y)
    batches = ICONClassifier(class_weight="balanced", engine=MiniBatch(batch_size), random_state=0).fit(
        data, y
    )
    np.testing.assert_allclose(batches.intercept_, together.intercept_, atol=0.1)
    assert batches.loss_ == pytest.approx(together.loss_, abs=0.02)


@pytest.mark.parametrize("divergence", [JensenShannon(), Hellinger(), TotalVariation()])
def test_sizes_of_earlier_batches_are_for_kl_only(divergence):
    """Rows of q sum to one on average only, and these divergences count what they sum to."""
    p = sparse_p(P, uniform=0.1, self_pairs=True)
    for momentum in (0.0, 0.5):
        problem = make_problem(p, Cluster(mass_momentum=momentum), places(N, 3), divergence=divergence)
        assert (MiniBatch(9).refuses(problem) is None) == (momentum == 0)
        assert MiniBatch(9).refuses(replace(problem, divergence=KL())) is None


@pytest.mark.parametrize(
    ("p", "n_positives", "least"),
    [("knn", 1, 4), ("knn", 3, 8), ("knn", 0, 3), (Views(n_views=3), 1, 4), (GaussianP(sigma=1.0), 1, 3)],
)
@pytest.mark.parametrize("q", ["student", "cosine", Gaussian(normalize="joint"), WideGaussian()])
def test_batches_with_nothing_to_be_far_from_are_refused(p, n_positives, least, q):
    def fit(size):
        engine = MiniBatch(size, n_positives=n_positives)
        return ICONEmbedding(p=p, q=q, mapper="linear", engine=engine, max_iter=3, random_state=0).fit(X)

    for size in range(2, least):
        with pytest.raises(ValueError, match=f"nothing is learned; use batch_size={least}"):
            fit(size)
    history = fit(least).loss_history_
    assert (history != 0).any()
    # A row of two views has two candidates in the other set, and classes are all there.
    ICONEmbedding(p=Views(cross=True), mapper="linear", engine=MiniBatch(2), max_iter=1, random_state=0).fit(
        X
    )
    ICONClassifier(engine=MiniBatch(2), max_iter=1, random_state=0).fit(X, np.arange(N) % 3)
