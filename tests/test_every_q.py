"""The contract of every learned distribution: slopes, places, normalisation, parameters."""

import numpy as np
import pytest
import torch
from reference import (
    KERNELS,
    assert_slopes,
    candidates,
    evaluate,
    first_visit,
    joint_q,
    make_problem,
    places,
    random_rows,
    softmax,
    sparse_p,
    unit,
)
from sklearn.base import clone

from iconlearn import ICONEmbedding
from iconlearn.engines import Dense
from iconlearn.learned import (
    Cluster,
    Cosine,
    Custom,
    Dot,
    Gaussian,
    Hyperbolic,
    InversePower,
    Learned,
    Student,
)
from iconlearn.loss import log_normalizers, share
from iconlearn.numerics.geometry import matrix
from iconlearn.optim import Phase, minimise
from iconlearn.optim._plateau import Plateau
from iconlearn.registry import COMPONENTS

N = 11
P = random_rows(N, density=0.4, self_pairs=False)
MASS = np.arange(1.0, N + 1)


def cauchy(s):
    return -torch.log1p(s)


EVERY_Q = {
    "gaussian": Gaussian(0.7),
    "student": Student(),
    "student-half": Student(0.5),
    "student-2": Student(2.0),
    "student-5": Student(5.0),
    "hyperbolic": Hyperbolic(0.7),
    "inverse": InversePower(3.0, eps=1e-3),
    "dot": Dot(0.5),
    "cosine": Cosine(0.3),
    "cluster": Cluster(),
    "degrees": Cluster(degree_weighted=True),
    "custom": Custom(cauchy),
    "custom-dot": Custom(torch.tanh, geometry="dot"),
}
# A density over the whole space has no candidates to sum to one over: test_densities.py.
NORMALIZED = [(name, how) for name, q in EVERY_Q.items() for how in q.normalizers if how != "space"]


def begun(name, **parameters):
    q = clone(EVERY_Q[name]).set_params(**parameters)
    q.begin(dtype=torch.float64)
    return q


def scalars(q):
    s = torch.linspace(0.05, 4.0, 40, dtype=torch.float64)
    return s if q.geometry == "sqdist" else s / 5


def test_every_registered_q_is_here():
    finite = {q for q in COMPONENTS["q"].values() if q.reduce == "logsumexp"}  # the rest: test_limits.py
    assert {type(q) for q in EVERY_Q.values()} >= finite


@pytest.mark.parametrize("name", EVERY_Q)
def test_slope_is_the_derivative_of_log_kernel(name):
    q = begun(name)
    s, h = scalars(q), 1e-6
    differences = (q.log_kernel(s + h) - q.log_kernel(s - h)) / (2 * h)
    torch.testing.assert_close(q.slope(s), differences, rtol=1e-7, atol=1e-7)
    kept = s.clone()
    q.slope(s), q.log_kernel(s)
    torch.testing.assert_close(s, kept)


@pytest.mark.parametrize("name", [name for name, q in EVERY_Q.items() if q.heavy_tailed])
def test_kernel_and_its_slope_agree_with_log_kernel(name):
    q = begun(name)
    s = scalars(q)
    k = q.kernel(s.clone())
    torch.testing.assert_close(k, torch.exp(q.log_kernel(s)), rtol=1e-12, atol=0)
    tensor, factor = q.slope_of_kernel(k.clone())
    torch.testing.assert_close(tensor * factor, k * q.slope(s), rtol=1e-12, atol=0)


def test_heavy_tails_are_those_that_do_not_underflow():
    assert {name for name, q in EVERY_Q.items() if q.heavy_tailed} == {
        "student", "student-half", "student-2", "hyperbolic",
    }  # fmt: skip
    far = torch.tensor([1e15], dtype=torch.float32)
    for dof in (0.5, 1.0, 3.0):
        assert float(Student(dof).kernel(far.clone())) > 0
    assert float(torch.exp(Student(9.0).log_kernel(far))) == 0


def written_out(q, Z, p):
    return joint_q(q, Z, Z, candidates(p), p.row_mass)


@pytest.mark.parametrize("debias", [0.0, 0.3])
@pytest.mark.parametrize(("name", "normalize"), NORMALIZED)
def test_q_sums_to_one_over_the_candidates(name, normalize, debias):
    if name.startswith("custom"):
        KERNELS["Custom"] = lambda q, U, V, w: np.exp(
            q.function(matrix(q.geometry, *map(torch.as_tensor, (U, V)))).numpy()
        )
    q = begun(name, normalize=normalize, debias=debias)
    problem = make_problem(sparse_p(P, mass=MASS, self_pairs=False), q, places(N, 3))
    visit = first_visit(problem)
    Z = problem.rows.at().detach()
    U, V = q.place(Z, mass=visit.mass), q.place(Z, columns=True, mass=visit.mass)
    log_norm, of_columns = log_normalizers(q, Dense(), U, U if normalize == "doubly" else V, visit)
    log_q = q.log_kernel(matrix(q.geometry, U, V)) - log_norm[:, None]
    if normalize == "doubly":
        log_q = log_q - of_columns
    Q = share(q, log_q, log_norm, visit, slice(0, N)).exp().numpy() * candidates(problem.p)
    weights = visit.mass.numpy()[:, None]
    assert (weights * Q).sum() == pytest.approx(1, abs=1e-12)
    if normalize != "joint":
        np.testing.assert_allclose(Q.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(weights * Q, written_out(q, Z.numpy(), problem.p), atol=1e-12)
    if debias:
        share_ = 1 / candidates(problem.p).sum(axis=1)[0] * (1 / N if normalize == "joint" else weights)
        assert (weights * Q >= debias * share_ * candidates(problem.p) - 1e-15).all()


@pytest.mark.parametrize(("name", "normalize"), NORMALIZED)
def test_gradients(name, normalize):
    q = begun(name, normalize=normalize, debias=0.1)
    assert_slopes(make_problem(sparse_p(P, mass=MASS, self_pairs=False), q, places(N, 3)))


def test_places_and_what_they_mean():
    Z = torch.as_tensor(places(N, 3))
    for name in ("gaussian", "student", "inverse", "custom"):
        assert begun(name).place(Z) is Z and begun(name).represent(Z) is Z
    np.testing.assert_allclose(begun("dot").place(Z), Z / 0.5**0.5)
    assert begun("dot").represent(Z) is Z
    np.testing.assert_allclose(begun("cosine").place(Z), unit(Z.numpy()) / 0.3**0.5)
    np.testing.assert_allclose(begun("cosine").represent(Z), unit(Z.numpy()))
    r, w = softmax(Z.numpy()), MASS / MASS.sum()
    for name in ("cluster", "degrees"):
        np.testing.assert_allclose(begun(name).place(Z, mass=torch.as_tensor(w)), r)
        np.testing.assert_allclose(begun(name).represent(Z), r)
    right = begun("cluster").place(Z, columns=True, mass=torch.as_tensor(w))
    np.testing.assert_allclose(right, r / r.sum(axis=0))
    right = begun("degrees").place(Z, columns=True, mass=torch.as_tensor(w))
    np.testing.assert_allclose(right, r * w[:, None] / (w @ r))


def test_declared_attributes():
    assert [name for name in EVERY_Q if begun(name).self_pairs] == ["cluster", "degrees"]
    assert not begun("cluster", normalize="row").self_pairs
    assert [name for name in EVERY_Q if begun(name).shared_clusters] == ["cluster", "degrees"]
    assert [name for name in EVERY_Q if begun(name).free_dot] == ["dot"]
    for name, q in EVERY_Q.items():
        Z = torch.as_tensor(places(N, 3))
        alike = torch.equal(begun(name).place(Z), begun(name).place(Z, columns=True))
        assert alike == q.same_places


def test_empty_and_far_clusters_stay_finite():
    logits = np.full((N, 3), -900.0)
    logits[:, 0] = 0
    logits[0] = [-900, 0, -900]
    value, (gradient,) = evaluate(make_problem(sparse_p(P), Cluster(), logits))
    assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("Kernel", [Dot, Cosine])
class TestTemperature:
    def problem(self, Kernel, **parameters):
        Z = unit(places(N, 3)) * 1.5
        p = sparse_p(softmax(Z @ Z.T / 0.5 if Kernel is Dot else unit(Z) @ unit(Z).T / 0.5))
        return make_problem(p, Kernel(2.0, **parameters), Z)

    def test_it_finds_the_one_that_made_p(self, Kernel):
        problem = self.problem(Kernel, learnable=True)
        visit = first_visit(problem)

        def epochs(phase):
            def closure():
                problem.q.log_scale_.grad = None
                value, gradients = evaluate(problem, visit=visit)
                problem.q.log_scale_.grad = torch.as_tensor(gradients[1])
                return torch.tensor(value)

            return [closure]

        assert problem.q.temperature_ == pytest.approx(2.0)
        minimise(epochs, [problem.q.log_scale_], optimizer="adam", phases=[Phase(400, 0.05)], rule=Plateau(0))
        assert problem.q.temperature_ == pytest.approx(0.5, rel=1e-3)

    def test_otherwise_it_is_fixed(self, Kernel):
        assert Kernel(2.0).begin() == [] and len(Kernel(2.0, learnable=True).begin()) == 1
        assert len(evaluate(self.problem(Kernel))[1]) == 1

    def test_it_is_kept_above_a_hundredth(self, Kernel):
        q = Kernel(0.1, learnable=True)
        q.begin(dtype=torch.float64)
        with torch.no_grad():
            q.log_scale_.fill_(50.0)
        Z = torch.as_tensor(unit(places(N, 3)))
        torch.testing.assert_close(q.place(Z), 10 * Z)
        assert q.temperature_ == pytest.approx(0.01)
        fixed = Kernel(1e-3)
        fixed.begin(dtype=torch.float64)
        torch.testing.assert_close(fixed.place(Z), 1000**0.5 * Z)
        assert fixed.temperature_ == pytest.approx(1e-3)

    def test_it_cools_evenly_in_logarithms(self, Kernel):
        q = Kernel(1.0, final_temperature=0.01)
        assert q.begin(dtype=torch.float64) == [] and q.cools and not Kernel(1.0).cools
        for cooling, temperature in ((0, 1.0), (0.5, 0.1), (1, 0.01)):
            q.cool(cooling)
            assert q.temperature_ == pytest.approx(temperature)
        with pytest.raises(ValueError, match=r"final_temperature=2.*at most 1"):
            Kernel(1.0, final_temperature=2.0).begin()
        with pytest.raises(ValueError, match=r"final_temperature=0.1 with learnable=True"):
            Kernel(1.0, final_temperature=0.1, learnable=True).begin()

    def test_a_fit_ends_at_the_last_temperature(self, Kernel):
        X, seen = places(30, 4), []
        options = {"p": "knn", "p__n_neighbors": 5, "random_state": 0, "optimizer": "adam", "tol": 0}
        for n_iter in (80, 3, 1):
            model = ICONEmbedding(3, max_iter=n_iter, callback=lambda record: seen.append(record.best_loss))
            model.set_params(q=Kernel(1.0, final_temperature=0.05), **options).fit(X)
            assert model.q_.temperature_ == pytest.approx(0.05) and model.n_iter_ == n_iter
            # Losses at other temperatures, lower though they may be, are not what is kept; the history is in single
            # precision, whose rounding a small temperature multiplies.
            assert model.loss_ == pytest.approx(min(model.loss_history_[-(n_iter // 8 or 1) :]), rel=1e-5)


def test_a_custom_kernel_equals_the_built_in_one():
    p = sparse_p(P, self_pairs=False)
    ours = evaluate(make_problem(p, Custom(cauchy), places(N, 2)))
    theirs = evaluate(make_problem(p, Student(), places(N, 2)))
    assert ours[0] == pytest.approx(theirs[0], abs=1e-12)
    np.testing.assert_allclose(ours[1][0], theirs[1][0], atol=1e-12)


def test_a_q_of_ones_own_needs_one_method():
    class Laplace(Learned):
        def __init__(self, normalize="row", debias=0.0):
            self.normalize, self.debias = normalize, debias

        def log_kernel(self, s):
            return -torch.sqrt(s + 1e-9)

    for normalize in ("row", "joint"):
        assert_slopes(make_problem(sparse_p(P, self_pairs=False), Laplace(normalize, 0.1), places(N, 2)))


class Nothing(Learned):
    normalize, debias = "row", 0.0


WRONG = [
    (Gaussian(0), ValueError, "sigma"),
    (Gaussian("wide"), TypeError, "sigma"),
    (Student(-1), ValueError, "dof"),
    (InversePower(0), ValueError, "power"),
    (InversePower(eps=0), ValueError, "eps"),
    (Dot(0), ValueError, "temperature"),
    (Cosine(-0.1), ValueError, "temperature"),
    (Custom(cauchy, geometry="taxi"), ValueError, "geometry"),
    (Gaussian(normalize="self"), ValueError, "'row', 'joint'"),
    (Cosine(normalize="rows"), ValueError, 'Did you mean "row"'),
    (Cluster(normalize="none"), ValueError, "'self', 'row', 'joint'"),
    *((clone(q).set_params(debias=1.0), ValueError, "debias") for q in EVERY_Q.values()),
    *((clone(q).set_params(debias=-0.1), ValueError, "debias") for q in EVERY_Q.values()),
]


@pytest.mark.parametrize(("q", "error", "words"), WRONG)
def test_wrong_parameters_are_named(q, error, words):
    with pytest.raises(error, match=words):
        q.begin()


def test_a_q_without_a_kernel_says_so():
    with pytest.raises(TypeError, match=r"Nothing must define log_kernel"):
        Nothing().log_kernel(torch.zeros(1))
