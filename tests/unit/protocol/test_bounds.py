"""What the API accepts, the control messages accept as well."""

import json

import pytest
from pydantic import ValidationError

from jelmore.api.schemas import AnswerBody, ChangeBody, CreateBody, InputBody
from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, MAX_ID_CHARACTERS, MAX_NAME_CHARACTERS
from jelmore_protocol.control import AgentOptions, Change, InputRequest, PermissionAnswer


@pytest.mark.parametrize("length", [1, 128, 129, MAX_NAME_CHARACTERS])
def test_a_model_of_every_length_that_the_api_takes_reaches_the_runner(length: int) -> None:
    for body in (ChangeBody, CreateBody):
        model = body.model_validate_json(json.dumps({"model": "m" * length})).model
        assert model is not None
        assert Change(value=model).value == model
        assert AgentOptions(model=model).model == model


@pytest.mark.parametrize("length", [0, MAX_NAME_CHARACTERS + 1])
def test_other_lengths_are_refused_by_name(length: int) -> None:
    for body in (ChangeBody, CreateBody):
        with pytest.raises(ValidationError, match="model"):
            body.model_validate_json(json.dumps({"model": "m" * length}))


def test_ids_and_answers_share_their_bounds() -> None:
    body = InputBody.model_validate_json(json.dumps({"input": "x", "id": "i" * MAX_ID_CHARACTERS}))
    assert InputRequest(id=body.id or "", input=body.input).id == body.id
    text = "m" * MAX_ANSWER_CHARACTERS
    answer = AnswerBody.model_validate_json(json.dumps({"decision": "deny", "message": text}))
    assert PermissionAnswer(decision="deny", message=answer.message).message == text
