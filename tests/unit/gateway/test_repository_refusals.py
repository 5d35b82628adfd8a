"""What a person reads when a git server refuses: git itself only says that nobody can be asked for a password."""

import base64
from urllib.parse import quote

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


@pytest.mark.parametrize("credential", ["hub", None])
def test_what_the_server_says_is_kept(credential: str | None) -> None:
    errors = (
        "remote: Your account is suspended, see https://git.example/why\n"
        "fatal: Authentication failed for 'https://git.example/x.git/'\n"
    )
    said = str(refusal_of(errors, credential, []))
    assert "git says: remote: Your account is suspended, see https://git.example/why fatal:" in said


def test_no_form_of_the_credential_is_in_the_words() -> None:
    basic = base64.b64encode(b"bot:p/ss word").decode()
    forms = [basic, basic.rstrip("="), "bot:p/ss word", "p/ss word", "p%2Fss%20word", quote(basic, safe="")]
    forms.append(base64.b64encode(basic.encode()).decode())
    for form in forms:
        said = str(refusal_of(f"remote: you sent {form} here\nfatal: Authentication failed\n", "hub", [basic]))
        assert form not in said, form
        assert "remote: you sent *** here" in said
    assert len(str(refusal_of("remote: x\n" * 10_000, None, []))) < 600
