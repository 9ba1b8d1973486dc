"""Which model plays which role, and where its weights lie on this machine.

`configs/models.yaml` names the models and their sources.
"""

from iotops.models.catalogue import ModelSpec, load_catalogue
from iotops.models.resolution import ResolvedModel, prepare, resolve, resolve_role

__all__ = ["ModelSpec", "ResolvedModel", "load_catalogue", "prepare", "resolve", "resolve_role"]
