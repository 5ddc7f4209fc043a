"""Differentiable two-dimensional Navier-Stokes for JAX, on NVIDIA Warp kernels."""
from ._grid import Grid as Grid
