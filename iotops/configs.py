"""The YAML that a person edits, read as what it may say."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from iotops.errors import SettingsError

Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path, model: type[Model]) -> Model:
    """The content of a file; raises `SettingsError` that names the file, the entry and the remedy.

    What was read is not told: someone may have put a key there.
    """
    try:
        with path.open("rb") as file:
            return model.model_validate(yaml.safe_load(file) or {})
    except ValidationError as error:
        problems = (
            ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in error.errors()
        )
        raise SettingsError(f"{path}: {'; '.join(problems)}") from None
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from None
