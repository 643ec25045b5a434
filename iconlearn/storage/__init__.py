"""Estimators in files, without code in them: arrays as .npy, everything else as JSON, in one zip.

A file can be read by ``numpy.load``; loading one runs nothing that it names, and makes objects of classes of the
package (or of registered components) only, beside values of pandas and what scikit-learn notes on estimators.
"""

from ._checkpoint import Checkpoint
from ._estimator import load, save

__all__ = ["Checkpoint", "load", "save"]
