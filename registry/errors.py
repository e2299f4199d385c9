"""What the registry raises, and how it tells what went wrong elsewhere."""


class RegistryError(ValueError):
    """A component is unknown, registered twice, cannot be imported, or was asked for wrongly."""


def explain(error: Exception) -> str:
    """What went wrong as something was imported, in a line for whoever installed it."""
    if isinstance(error, ModuleNotFoundError):
        return f"it needs {error.name!r}, which is not installed"
    return f"{type(error).__name__}: {error}"
