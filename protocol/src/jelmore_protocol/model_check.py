"""What the model API says about the deployment's credential: the response to `GET /model` of the gateway."""

from datetime import datetime

from pydantic import Field

from jelmore_protocol.gateway import Message


class ModelCheck(Message):
    """One request of the gateway to the model API, with the deployment's credential and without cost.

    `accepted` is None when the API did not say: it does not answer, or has no list of models.
    `problem` holds no secret.
    """

    server: str  # host and port of the model API
    credential: bool  # one is set
    accepted: bool | None
    status: int = Field(default=0)  # of the response; 0: none came
    problem: str = ""
    at: datetime
