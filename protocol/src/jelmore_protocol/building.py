"""When the models of the protocol are built.

They are built at their first use: a runner imports all of them and uses few before its session is ready. Who has time
before that use, or forks, builds them ahead.
"""

from pydantic import BaseModel

from jelmore_protocol.frames import CLIENT_FRAMES


def build_models() -> None:
    """Build all models of the protocol that are imported. May run twice, and beside their first use."""
    for model in _below(BaseModel):
        model.model_rebuild()
    CLIENT_FRAMES.rebuild()


def _below(base: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the protocol's models below `base`."""
    found: dict[type[BaseModel], None] = {}
    queue = [base]
    while queue:
        for model in queue.pop().__subclasses__():
            if model not in found:
                found[model] = None
                queue.append(model)
    return [model for model in found if model.__module__.startswith("jelmore_protocol.")]
