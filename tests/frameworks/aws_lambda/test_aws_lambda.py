from __future__ import annotations

import base64
from typing import Any

import pytest

from karla_receiver import ConfigurationError, Event, Receiver, sign
from karla_receiver.adapters.aws_lambda import endpoint, to_request, webhook
from tests.doors import Knock, logged_reasons, signed_knock
from tests.frameworks.aws_lambda import FORMS, balancer, balancer_multi, version_1, version_2
from tests.signing import BODY, SECRET


def handle(invocation: dict[str, Any], **options: Any) -> tuple[dict[str, Any], list[str]]:
    with logged_reasons() as reasons:
        answer: dict[str, Any] = endpoint(Receiver(SECRET, **options))(invocation, None)
        return answer, reasons


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", ["Karla-Signature", "KARLA-SIGNATURE", "karla-signature"])
def test_the_body_comes_as_text_or_in_base64_and_the_header_in_any_case(
    form: Any, name: str
) -> None:
    invocation = form(signed_knock(headers=[(name, sign(BODY, SECRET))]))
    encoded = base64.b64encode(BODY).decode()

    assert handle(invocation)[0]["statusCode"] == 200
    in_base64 = {**invocation, "body": encoded, "isBase64Encoded": True}
    assert handle(in_base64)[0]["statusCode"] == 200


def test_several_lines_of_the_header_are_joined() -> None:
    signature = sign(BODY, SECRET)
    time, digest = signature.split(",")
    for form in FORMS.values():
        knock = Knock(headers=[("Karla-Signature", time), ("Karla-Signature", digest)], body=BODY)
        assert handle(form(knock))[0]["statusCode"] == 200


def test_a_load_balancer_is_answered_in_the_form_that_it_asked_in() -> None:
    single, _ = handle(balancer(signed_knock()))
    assert single == {
        "statusCode": 200,
        "statusDescription": "200 OK",
        "headers": {"content-type": "application/json"},
        "body": '{"status":"success"}',
        "isBase64Encoded": False,
    }
    several, _ = handle(balancer_multi(signed_knock()))
    assert several["multiValueHeaders"] == {"content-type": ["application/json"]}
    assert "headers" not in several


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"body": "not base64!", "isBase64Encoded": True}, "body_incomplete"),
        ({"body": "Zg", "isBase64Encoded": True}, "body_incomplete"),
        ({"body": "Zg\u00e9=", "isBase64Encoded": True}, "body_incomplete"),
        ({"body": "\ud800"}, "signature_mismatch"),
        ({"body": None}, "signature_mismatch"),
        ({"headers": None, "multiValueHeaders": None}, "missing_signature"),
        ({"headers": "text", "multiValueHeaders": {}}, "missing_signature"),
        ({"headers": {"Karla-Signature": None}, "multiValueHeaders": {}}, "missing_signature"),
        ({"multiValueHeaders": {"Karla-Signature": "text"}}, "missing_signature"),
        ({"multiValueHeaders": {"Karla-Signature": [3]}}, "missing_signature"),
    ],
)
def test_what_is_broken_or_empty_is_refused(broken: dict[str, Any], reason: str) -> None:
    answer, reasons = handle({**version_1(signed_knock()), **broken})
    assert answer["statusCode"] in {400, 401}
    assert reasons == [reason]


def test_a_body_beyond_the_limit_is_refused() -> None:
    answer, reasons = handle(version_2(signed_knock()), max_body_bytes=10)
    assert (answer["statusCode"], reasons) == (413, ["body_too_large"])


def test_only_a_load_balancer_may_have_been_asked_over_http() -> None:
    knock = signed_knock()
    knock.headers.append(("X-Forwarded-Proto", "http"))
    for form in (version_1, version_2):
        assert to_request(form(knock)).scheme == "https"

    asked = balancer(signed_knock())
    assert to_request(asked).scheme == "https"
    asked["headers"]["x-forwarded-proto"] = "http"
    assert to_request(asked).scheme == "http"
    del asked["headers"]["x-forwarded-proto"]
    assert to_request(asked).scheme == "http"


@pytest.mark.parametrize(
    ("invocation", "told"),
    [
        ({}, "'dict'"),
        ({"Records": [{"eventSource": "aws:sqs"}]}, r"\['Records'\]"),
        ({"requestContext": None}, r"\['requestContext'\]"),
        ({"requestContext": "text"}, r"\['requestContext'\]"),
        ({"requestContext": {"http": {}}, "httpMethod": "POST"}, r"\['httpMethod', 'requ"),
        ({"requestContext": {"http": None}}, r"\['requestContext'\]"),
        ({"httpMethod": 3}, r"\['httpMethod'\]"),
        ({"httpMethod": "POST", "body": {"parsed": "already"}}, r"\['body', 'httpMethod'\]"),
        ([], "'list'"),
        (None, "'NoneType'"),
        ("text", "'str'"),
        (3, "'int'"),
    ],
    ids=str,
)
def test_an_invocation_that_is_no_request_is_an_error_that_says_so(
    invocation: Any, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"it was invoked with an event of {told}"):
        endpoint(Receiver(SECRET))(invocation, None)


@pytest.mark.parametrize("returned", ["text", {"any": "thing"}, ["list"]])
def test_what_names_no_status_is_a_success_as_with_payload_format_2(returned: Any) -> None:
    @webhook(SECRET)
    def handler(event: Event, context: Any) -> Any:
        return returned

    with logged_reasons() as reasons:
        assert handler(version_2(signed_knock()), None) is returned
    assert reasons == []


def test_a_secret_is_no_receiver() -> None:
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        endpoint(SECRET)  # type: ignore[arg-type]
