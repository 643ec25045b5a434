"""Triton's kernels without a GPU: by its interpreter, also on the pretended device, which counts and records them."""

import functools
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec

import torch

GPU = torch.version.cuda is not None and torch.cuda.is_available()
# With a GPU they are compiled for it.  Read where a kernel is defined, those of Triton's own library among them.
if not GPU and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"


def reason_against():
    """Why kernels cannot run here, or None."""
    if find_spec("triton") is None:
        return "Triton, which comes with torch's builds for CUDA, is not there"
    if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
        return "there is no GPU, and Triton has been imported without its interpreter"
    if not GPU and tuple(map(int, version("triton").split(".")[:2])) < (3, 9):
        return "there is no GPU, and interpreters of Triton before 3.9 do not know these kernels or the newest numpy"
    return None


TENSOR = object()
_launches = []


@functools.cache
def _operation():
    """An operation of torch that is a launch, so that the pretended device treats it as any other."""
    library = torch.library.Library("iconlearn_tests", "DEF")
    library.define("launch(Tensor(a!)[] tensors, int number) -> ()")

    def launch(tensors, number):
        function, n_programs, args, constants = _launches[number]
        left = iter(tensors)
        function[(n_programs,)](*(next(left) if a is TENSOR else a for a in args), **constants)

    library.impl("launch", launch, "CPU")
    return library


def few_large_programs(monkeypatch):
    """The interpreter takes the same time for a small one as for a large one."""
    if reason_against() is None and not GPU:
        from iconlearn.numerics.fused import _mesh

        for name, value in {"POINTS": 512, "ROWS": 512, "EDGES": 64}.items():
            monkeypatch.setattr(_mesh, name, value)


def use_on_the_pretended_device(monkeypatch):
    """Let fits on the pretended device take kernels.

    Returns
    -------
    list
        The names of those that are launched; a recorded step that is repeated does not launch them one by one.
    """
    from iconlearn import _kernels
    from iconlearn.numerics.fused import _mesh, _steps

    _operation()
    names = []

    def launch(function, n_programs, *args, **constants):
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        args = [TENSOR if isinstance(a, torch.Tensor) else a for a in args]
        names.append(function.fn.__name__)
        _launches.append((function, n_programs, args, constants))
        torch.ops.iconlearn_tests.launch([t.detach() for t in tensors], len(_launches) - 1)

    for module in (_mesh, _steps):
        monkeypatch.setattr(module, "launch", launch)
    few_large_programs(monkeypatch)
    monkeypatch.setattr(_kernels, "_has_triton", lambda: True)
    monkeypatch.setattr(_kernels, "_agreed", {})
    return names
