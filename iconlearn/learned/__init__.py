"""Learned distributions q: how near the model says two points are."""

from ._base import Learned, check_kernel, copy_in_double
from ._cluster import Cluster
from ._hyperbolic import BallRadius, Hyperbolic
from ._kernels import Cosine, Custom, Dot, Gaussian, InversePower, Student
from ._limits import NarrowGaussian, WideGaussian

__all__ = [
    "BallRadius",
    "Cluster",
    "Cosine",
    "Custom",
    "Dot",
    "Gaussian",
    "Hyperbolic",
    "InversePower",
    "Learned",
    "NarrowGaussian",
    "Student",
    "WideGaussian",
    "check_kernel",
    "copy_in_double",
]
