"""Grid searches on the backends of Dask and Ray for joblib; `make test-integration` has them."""

from contextlib import contextmanager

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from iconlearn import ICONClassifier


@contextmanager
def dask():
    distributed = pytest.importorskip("dask.distributed", reason="dask is not installed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        yield


@contextmanager
def ray():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("ray.util.joblib").register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with parallel_config("ray"):
            yield
    finally:
        ray.shutdown()


@pytest.mark.parametrize("backend", [dask, ray])
@pytest.mark.filterwarnings("ignore")
def test_a_search_finds_what_it_finds_in_one_process(backend):
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(ICONClassifier(max_iter=20), {"C": [0.1, 1.0]}, cv=2)
    with backend():
        found = search.set_params(n_jobs=2).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(
        found, search.set_params(n_jobs=None).fit(X, y).cv_results_["mean_test_score"]
    )
