"""AWS Lambda: the forms in which it is handed a request."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any, TypeAlias

from karla_receiver import Event, Receiver
from karla_receiver.adapters.aws_lambda import endpoint, webhook
from tests.doors import PATH, Answer, Door, Knock, answer_of, logged_reasons
from tests.frameworks.contract import Behaviour, Example, Framework, outcome

Form: TypeAlias = Callable[[Knock], dict[str, Any]]


def body_of(knock: Knock) -> dict[str, Any]:
    """As text where it is text, as API Gateway and load balancers do with JSON."""
    try:
        return {"body": knock.body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(knock.body).decode(), "isBase64Encoded": True}


def lines_of(knock: Knock) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for name, value in knock.headers:
        lines.setdefault(name, []).append(value)
    return lines


def last_of(knock: Knock) -> dict[str, str]:
    return {name: values[-1] for name, values in lines_of(knock).items()}


def joined(knock: Knock) -> dict[str, str]:
    return {name.lower(): ",".join(values) for name, values in lines_of(knock).items()}


def version_1(knock: Knock) -> dict[str, Any]:
    return {
        "version": "1.0",
        "resource": PATH,
        "path": PATH,
        "httpMethod": knock.method,
        "headers": last_of(knock),
        "multiValueHeaders": lines_of(knock),
        "queryStringParameters": None,
        "requestContext": {"protocol": "HTTP/1.1", "httpMethod": knock.method},
        **body_of(knock),
    }


def version_2(knock: Knock) -> dict[str, Any]:
    """API Gateway's payload format 2.0, which function URLs use too."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": PATH,
        "rawQueryString": knock.query,
        "headers": joined(knock),
        "requestContext": {"http": {"method": knock.method, "path": PATH, "protocol": "HTTP/1.1"}},
        **body_of(knock),
    }


def balancer(knock: Knock) -> dict[str, Any]:
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:example"}},
        "httpMethod": knock.method,
        "path": PATH,
        "queryStringParameters": {},
        "headers": {**joined(knock), "x-forwarded-proto": "https"},
        **body_of(knock),
    }


def balancer_multi(knock: Knock) -> dict[str, Any]:
    single = balancer(knock)
    del single["headers"]
    headers = {name.lower(): values for name, values in lines_of(knock).items()}
    return {**single, "multiValueHeaders": {**headers, "x-forwarded-proto": ["https"]}}


def through(form: Form) -> Door:
    def door(receiver: Receiver, knock: Knock) -> Answer:
        invocation = form(knock)
        before = copy.deepcopy(invocation)
        with logged_reasons() as reasons:
            answer = endpoint(receiver)(invocation, None)
        assert invocation == before
        headers = answer.get("headers")
        if headers is None:
            headers = {name: value for name, (value,) in answer["multiValueHeaders"].items()}
        assert answer["isBase64Encoded"] is False
        return answer_of(
            reasons, answer["statusCode"], list(headers.items()), answer["body"].encode()
        )

    return door


FORMS: dict[str, Form] = {
    "api gateway 1.0": version_1,
    "api gateway 2.0": version_2,
    "load balancer": balancer,
    "load balancer, multi": balancer_multi,
}


ENDPOINTS: dict[str, Door] = {f"lambda, {name}": through(form) for name, form in FORMS.items()}


def own(status: int | None) -> Any:
    return None if status is None else {"statusCode": status, "headers": {}, "body": "own"}


def shop(behaviour: Behaviour, secrets: tuple[Any, ...], is_async: bool, knock: Knock) -> Answer:
    async def async_view(event: Event, context: Any) -> Any:
        return view(event, context)

    def view(event: Event, context: Any) -> Any:
        assert context == "the context"
        return own(outcome(behaviour, event, knock.body))

    handler = webhook(*secrets)(async_view if is_async else view)
    with logged_reasons() as reasons:
        answer = handler(version_2(knock), "the context")
    headers = list(answer["headers"].items())
    return answer_of(reasons, answer["statusCode"], headers, answer["body"].encode())


def ask(names: dict[str, Any], knocks: list[Knock]) -> list[int | None]:
    return [names["lambda_handler"](version_2(knock), None)["statusCode"] for knock in knocks]


FRAMEWORK = Framework(
    imports=frozenset(),
    doors=ENDPOINTS,
    shop=shop,
    abort=None,
    ask=ask,
    serves=None,
    examples={"lambda_function": Example("lambda_function.py")},
)
