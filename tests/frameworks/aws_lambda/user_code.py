"""Code as a user of AWS Lambda writes it, for type checkers only: nothing here is run."""

from __future__ import annotations

from karla_receiver import Event
from karla_receiver.adapters import aws_lambda


@aws_lambda.webhook("secret")
def lambda_handler(event: Event, context: object) -> None:
    """Acknowledge."""


lambda_answer = lambda_handler({"version": "2.0"}, None)
