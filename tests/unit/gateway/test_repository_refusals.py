"""What a person reads when a git server refuses: git itself only says that nobody can be asked for a password."""

import pytest

from jelmore_gateway.repository_rules import refusal_of

ASKS = "fatal: could not read Username for 'https://git.example.org': terminal prompts disabled"
WRONG = "fatal: Authentication failed for 'https://git.example.org/x.git/'"
FORBIDDEN = "fatal: unable to access 'https://git.example.org/x.git/': The requested URL returned error: 403"


@pytest.mark.parametrize(
    ("errors", "credential", "said"),
    [
        (ASKS, "bot", "repository.credential: the server refuses 'bot'"),
        (WRONG, "bot", "repository.credential: the server refuses 'bot'"),
        (ASKS, None, "repository.credential: is missing"),
        (FORBIDDEN, "bot", "repository.credential: the server knows 'bot' and does not allow this"),
        (FORBIDDEN, None, "repository.url: git says: fatal: unable to access"),
        ("fatal: hunter2 is wrong", "bot", "repository.url: git says: fatal: *** is wrong"),
        ("", "bot", "repository.url: git says: nothing"),
    ],
)
def test_a_refusal_names_what_to_correct(errors: str, credential: str | None, said: str) -> None:
    assert str(refusal_of(errors, credential, ["hunter2"])).startswith(said)
