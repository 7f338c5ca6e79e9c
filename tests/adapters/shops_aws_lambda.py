from __future__ import annotations

from typing import Any

from karla_receiver import Event
from karla_receiver.adapters.aws_lambda import webhook
from tests.adapters.views import Behaviour, outcome
from tests.doors import Answer, Knock, answer_of, logged_reasons
from tests.doors_aws_lambda import version_2

ABORT = None  # Lambda's functions have no such exception


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
