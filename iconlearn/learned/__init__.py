"""Learned distributions q: how near the model says two points are."""

from ._base import Learned, copy_in_double
from ._cluster import Cluster
from ._kernels import Cosine, Custom, Dot, Gaussian, InversePower, Student
from ._limits import NarrowGaussian, WideGaussian

__all__ = [
    "Cluster",
    "Cosine",
    "Custom",
    "Dot",
    "Gaussian",
    "InversePower",
    "Learned",
    "NarrowGaussian",
    "Student",
    "WideGaussian",
    "copy_in_double",
]
