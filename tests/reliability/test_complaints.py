"""What users of the neighbouring libraries have met, one line each, and the tests that say it is not met here.

Most of these tests stand where the code is tested; those that stand nowhere else stand below.
"""

import ast
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.datasets import load_digits, make_blobs
from sklearn.neighbors import KNeighborsClassifier

from iconlearn import ICONClustering, ICONEmbedding, Term
from iconlearn.supervisory import KNN, Graph, Precomputed

TESTS = Path(__file__).parents[1]
HERE = "reliability/test_complaints.py"
PROCESSES = "reliability/test_processes.py"
RANDOM = "reliability/test_random_data.py"
WORKFLOW = "estimators/test_workflow.py"

COMPLAINTS = {
    "a map has no transform": (WORKFLOW, "test_an_embedding_is_a_step_before_a_classifier"),
    "transform depends on the batch": (WORKFLOW, "test_a_new_row_does_not_depend_on_the_others"),
    "fit_transform is not fit and transform": (WORKFLOW, "test_training_rows_are_where_the_fit_put_them"),
    "transform changes the model": (WORKFLOW, "test_questions_do_not_change_the_estimator"),
    "transform of one row takes seconds": (HERE, "test_one_new_row_is_placed_at_once"),
    "transform leaks in a loop": (PROCESSES, "test_questions_one_by_one_take_no_memory"),
    "a seed does not repeat": (WORKFLOW, "test_the_same_seed_gives_the_same_bits"),
    "a seed forbids workers": (PROCESSES, "test_the_number_of_workers_changes_no_bit"),
    "import and first call take long": (
        "test_house.py",
        "test_fits_of_few_rows_and_all_that_is_public_load_no_slow_library",
    ),
    "a library pins the versions of others": (HERE, "test_three_libraries_are_enough"),
    "a build of another library fails": (HERE, "test_three_libraries_are_enough"),
    "a pickle does not answer": (WORKFLOW, "test_a_pickle_answers_as_the_original"),
    "a file runs code": ("storage/test_save_and_load.py", "test_no_other_class_is_made"),
    "a fit on a GPU cannot be opened": (
        "storage/test_save_and_load.py",
        "test_a_fit_on_cuda_answers_on_the_cpu",
    ),
    "a network cannot be saved": ("storage/test_save_and_load.py", "test_a_module_of_ones_own_is_asked_for"),
    "memory grows with the square of the rows": (HERE, "test_memory_is_linear_in_the_rows"),
    "a graph in parts hangs or gives NaN": (HERE, "test_a_graph_in_parts_is_laid_out"),
    "duplicates crash": ("estimators/test_inputs.py", "test_degenerate_rows_give_finite_results"),
    "constant data crash": (RANDOM, "test_any_rows"),
    "few rows hang": (RANDOM, "test_very_few_rows"),
    "points fly away": ("estimators/test_maps.py", "test_no_point_flies_away"),
    "no loss, no convergence": (HERE, "test_a_fit_says_its_loss_and_stops_when_nothing_is_gained"),
    "supervision scatters new rows": (HERE, "test_labels_do_not_scatter_new_rows"),
    "given matrices half work": (HERE, "test_given_distances_and_graphs_are_the_search_itself"),
    "defaults are bad": ("estimators/test_quality.py", "test_neighbourhoods_are_kept"),
    "a GPU gives worse results": (WORKFLOW, "test_cuda_ends_where_the_cpu_ends"),
    "clone and searches fail": (WORKFLOW, "test_search_over_debias_and_over_objects"),
    "set_output fails": (WORKFLOW, "test_data_frames_in_and_out"),
    "threads conflict": (PROCESSES, "test_fits_in_threads_do_not_disturb_one_another"),
    "a fork hangs": (WORKFLOW, "test_a_fit_works_in_a_forked_process"),
    "workers fail": (WORKFLOW, "test_fits_work_in_loky_workers"),
    "a killed fit is lost": ("storage/test_checkpoint.py", "test_a_fit_that_is_killed_goes_on"),
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_each_has_a_test(complaint):
    path, name = COMPLAINTS[complaint]
    functions = [
        node.name for node in ast.walk(ast.parse((TESTS / path).read_text("utf-8"))) if hasattr(node, "name")
    ]
    assert name in functions


digits, labels = load_digits(return_X_y=True)
digits = digits / 16


def test_one_new_row_is_placed_at_once():
    rows = digits[:600]
    fit = ICONEmbedding(max_iter=30, random_state=0).fit(rows)
    fit.transform(digits[700:701])
    begun = time.process_time()
    for k in range(701, 711):
        fit.transform(digits[k : k + 1])
    assert (time.process_time() - begun) / 10 < 0.3


BARE = """
import sys
for name in ("numba", "pynndescent", "faiss", "matplotlib", "pandas", "umap"):
    sys.modules[name] = None
import numpy as np, iconlearn
X = np.random.RandomState(0).normal(size=(300, 5))
y = (X[:, 0] > 0).astype(int)
iconlearn.ICONEmbedding(max_iter=3).fit(X).transform(X[:3] + 1)
iconlearn.ICONClustering(3, n_init=1).fit(X).predict(X[:3] + 1)
iconlearn.ICONClassifier().fit(X, y).predict(X[:3])
"""


def test_three_libraries_are_enough():
    run = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


MEMORY = """
import resource, sys
import numpy as np, iconlearn
X = np.random.RandomState(0).normal(size=(int(sys.argv[1]), 8))
iconlearn.ICONEmbedding(max_iter=2, init="pca").fit(X[:300])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
iconlearn.ICONEmbedding(max_iter=2, init="pca").fit(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_is_linear_in_the_rows():
    used = []
    for n in (12_000, 48_000):
        run = subprocess.run(
            [sys.executable, "-c", MEMORY, str(n)], capture_output=True, text=True, check=True
        )
        used.append(int(run.stdout))
    # All pairs of the larger one would be eighteen gigabytes.
    assert used[1] < 2**20 and used[1] < 8 * max(used[0], 2**16)


@pytest.mark.parametrize("init", ["pca", "spectral", "random"])
@pytest.mark.parametrize("n_parts", [2, 7])
def test_a_graph_in_parts_is_laid_out(init, n_parts):
    ring = sparse.diags_array([1.0, 1.0], offsets=[1, -1], shape=(12, 12))
    A = sparse.csr_array(sparse.block_diag([ring] * n_parts))
    fit = ICONEmbedding(p="graph", init=init, max_iter=100, random_state=0).fit(A)
    assert np.isfinite(fit.embedding_).all() and np.isfinite(fit.loss_)
    parts = np.repeat(np.arange(n_parts), 12)
    clusters = ICONClustering(n_parts, p="graph", random_state=0).fit(A)
    together = [len(np.unique(clusters.labels_[parts == k])) for k in range(n_parts)]
    assert np.mean(together) < 1.5


@pytest.mark.cpu(
    reason="losses of steps in single precision are rounded more on a device, and so is their minimum"
)
def test_a_fit_says_its_loss_and_stops_when_nothing_is_gained():
    X, _ = make_blobs(80, random_state=0)
    fit = ICONEmbedding(max_iter=5000, random_state=0).fit(X)
    assert fit.converged_ and fit.n_iter_ < 5000 and fit.n_iter_ == len(fit.loss_history_)
    p = fit.p_.conditional_.edges.toarray()
    k = 1 / (1 + ((fit.embedding_[:, None] - fit.embedding_) ** 2).sum(axis=2))
    np.fill_diagonal(k, 0)
    q = k / k.sum(axis=1, keepdims=True)
    on = p > 0
    assert_allclose(fit.loss_, (p[on] * np.log(p[on] / q[on])).sum() / 80, rtol=1e-4)
    assert fit.loss_ <= fit.loss_history_.min() * (1 + 1e-6)


@pytest.mark.slow
def test_labels_do_not_scatter_new_rows():
    train, new = slice(0, 400), slice(400, 600)
    plain = ICONEmbedding(max_iter=150, random_state=0)
    told = ICONEmbedding(terms=[Term("labels", weight=0.1)], max_iter=150, random_state=0)
    right = []
    for fit in (plain, told):
        fit.fit(digits[train], labels[train])
        near = KNeighborsClassifier(5).fit(fit.embedding_, labels[train])
        right.append(near.score(fit.transform(digits[new]), labels[new]))
    # A map that was told the labels must place rows it knows no label of as well as one that was told nothing.
    assert right[1] > right[0] - 0.03


@pytest.mark.parametrize("n", [30, 300])
def test_given_distances_and_graphs_are_the_search_itself(n):
    X, new = digits[:n], digits[n : n + 10]
    options = {"max_iter": 30, "init": "random", "random_state": 0}
    D, D_new = (np.linalg.norm(A[:, None] - X, axis=2) for A in (X, new))
    searched = ICONEmbedding(p=KNN(8), **options).fit(X)
    given = ICONEmbedding(p=KNN(8, metric="precomputed"), **options).fit(D)
    assert_allclose(given.embedding_, searched.embedding_, rtol=1e-4)
    assert_allclose(given.transform(D_new), searched.transform(new), rtol=1e-3, atol=1e-4)
    A = searched.p_.conditional_.edges
    assert_allclose(ICONEmbedding(p=Graph(), **options).fit(A).embedding_, searched.embedding_, rtol=1e-4)
    assert_allclose(
        ICONEmbedding(p=Precomputed(), **options).fit(A).embedding_, searched.embedding_, rtol=1e-4
    )
