"""Messages to push services: the example of RFC 8291, and what a browser's keys must be."""

import os

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from jelmore.control.push_messages import (
    MAX_MESSAGE_BYTES,
    Browser,
    encrypted,
    new_push_key,
    padless,
    public_text,
    push_headers,
    unpadded,
)
from tests.support.push_service import binary, opened, text

# RFC 8291, section 5 and appendix A.
MESSAGE = b"When I grow up, I want to be a watermelon"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
BROWSER = Browser(
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg"
)
RECEIVER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_y"
    "l95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def private_of(number: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(binary(number), "big"), ec.SECP256R1())


def test_the_example_of_the_specification() -> None:
    body = encrypted(MESSAGE, BROWSER, sender=private_of(SENDER), salt=binary(SALT))
    assert text(body) == BODY
    assert opened(body, private_of(RECEIVER), binary(BROWSER.auth)) == MESSAGE


def test_each_message_is_sealed_with_a_key_of_its_own() -> None:
    first, second = encrypted(MESSAGE, BROWSER), encrypted(MESSAGE, BROWSER)
    assert first[:86] != second[:86]
    assert opened(second, private_of(RECEIVER), binary(BROWSER.auth)) == MESSAGE


def test_a_message_fits_what_every_push_service_takes() -> None:
    assert len(encrypted(b"x" * MAX_MESSAGE_BYTES, BROWSER)) <= 4096
    with pytest.raises(ValueError, match="at most"):
        encrypted(b"x" * (MAX_MESSAGE_BYTES + 1), BROWSER)


@pytest.mark.parametrize(
    ("browser", "field"),
    [
        (Browser("", BROWSER.auth), "p256dh"),
        (Browser("!!!!", BROWSER.auth), "p256dh"),
        (Browser(padless(b"\x04" + os.urandom(64)), BROWSER.auth), "p256dh"),  # no point of the curve
        (Browser(padless(b"\x00"), BROWSER.auth), "p256dh"),
        (Browser(BROWSER.key, padless(b"short")), "auth"),
    ],
)
def test_keys_that_no_browser_makes_are_refused_by_field(browser: Browser, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        browser.check()
    BROWSER.check()


def test_a_push_service_sees_who_sends() -> None:
    pem = new_push_key()
    headers = push_headers("https://push.example:8443/send/x?y", pem, "mailto:ops@example.org", "topic")
    token, key = (part.split("=", 1)[1] for part in headers["Authorization"].removeprefix("vapid ").split(", "))
    assert key == public_text(pem)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(key))
    claims = jwt.decode(token, point, algorithms=["ES256"], audience="https://push.example:8443")
    assert claims["sub"] == "mailto:ops@example.org"
    assert headers["Topic"] == "topic"
