"""Where tests find `without_ray`."""

from chaos.in_process import without_ray

__all__ = ["without_ray"]
