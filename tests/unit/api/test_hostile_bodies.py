"""A request body of a stranger costs little to refuse, whatever it holds and whoever sends it."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError

from jelmore.api import schemas
from jelmore_protocol.bounded_shape import MAX_MEMBERS
from jelmore_protocol.frames import BadFrameError, decode_client_frame
from tests.unit.api.test_documentation import make_app

MANY: Final = 90_000
FREE: Final = {"metadata", "output_schema", "updated_input"}


def routes(router: Any) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from routes(route.original_router)


def bodies() -> Iterator[type[BaseModel]]:
    for route in routes(make_app()):
        if route.body_field is not None:
            annotation: Any = route.body_field.field_info.annotation
            for kind in getattr(annotation, "__args__", (annotation,)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield kind


BODIES: Final = sorted(set(bodies()), key=lambda kind: kind.__qualname__)


def errors_of(kind: type[BaseModel], body: dict[str, Any]) -> int:
    try:
        kind.model_validate(body)
    except ValidationError as error:
        return error.error_count()
    return 0


def test_every_body_is_found() -> None:
    assert schemas.CreateBody in BODIES
    assert len(BODIES) > 10


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__qualname__)
def test_a_body_with_very_many_bad_members_has_few_errors(kind: type[BaseModel]) -> None:
    keys = {f"k{number}": 1 for number in range(MANY)}
    assert errors_of(kind, keys) <= MAX_MEMBERS
    for name in kind.model_fields.keys() - FREE:
        values: list[Any] = [keys, [{}] * MANY, {"k": [{}] * MANY}, {"k": keys}]
        for value in values:
            assert errors_of(kind, {name: value}) <= 2 * MAX_MEMBERS, name


def test_free_json_may_have_many_members() -> None:
    schemas.AnswerBody.model_validate({"decision": "allow", "updated_input": {"cells": [0] * MANY}})


@pytest.mark.parametrize("answers", [{f"k{n}": 1 for n in range(MANY)}, {"q": [1] * MANY}], ids=["keys", "items"])
def test_a_frame_with_very_many_bad_members_is_refused_by_one_error(answers: dict[str, Any]) -> None:
    frame = {"type": "permission", "request_id": "r", "decision": "allow", "answers": answers}
    with pytest.raises(BadFrameError, match="members"):
        decode_client_frame(TypeAdapter(dict[str, Any]).dump_json(frame).decode())
