"""PivotRL in JAX: post-train an agent on the turns of recorded trajectories that still carry a signal."""

__version__ = "0.2.0"
