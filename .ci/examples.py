"""Runs examples in forks of one process that has imported what they need; shows the output of those that fail.

python .ci/examples.py N_PROCESSES "examples/demo.py --rows 400" examples/maps/plot_dof.py ...
"""

import contextlib
import io
import multiprocessing
import runpy
import sys
import traceback

# Half of the time of a short example; nothing is computed before the forks.
import matplotlib.pyplot  # noqa: F401
import sklearn.datasets
import sklearn.manifold
import sklearn.model_selection  # noqa: F401
import torch  # noqa: F401

import iconlearn


def run(command):
    """The command, and its output if it failed."""
    sys.argv, output = command.split(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except BaseException as error:
            if not isinstance(error, SystemExit) or error.code:
                traceback.print_exc()
                return command, output.getvalue()
    return command, None


if __name__ == "__main__":
    n_processes, *commands = sys.argv[1:]
    for name in iconlearn.__all__:
        getattr(iconlearn, name)
    failed = False
    with multiprocessing.get_context("fork").Pool(int(n_processes), maxtasksperchild=1) as pool:
        for command, output in pool.imap_unordered(run, commands, chunksize=1):
            if output is not None:
                failed = True
                print(f"{output}\n{command} failed", file=sys.stderr)
    sys.exit(failed)
