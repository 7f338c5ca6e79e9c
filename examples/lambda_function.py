"""An AWS Lambda function that receives webhooks from Karla, and a stand-in for its function URL.

Run it:              KARLA_WEBHOOK_SECRET=try-me-try-me-16 python examples/lambda_function.py
Send it a delivery:  python examples/send.py http://127.0.0.1:8000/webhooks/karla
In AWS:              the handler is lambda_function.lambda_handler; pip install karla-receiver
                     into the package, and set KARLA_WEBHOOK_SECRET in the environment.
"""

from __future__ import annotations

import base64
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from karla_receiver import Event, Phase, Receiver, ShipmentEvent
from karla_receiver.adapters.aws_lambda import webhook


@webhook(Receiver.from_env())
def lambda_handler(event: Event, context: Any) -> None:
    """Act on an event; returning nothing acknowledges it."""
    if isinstance(event, ShipmentEvent) and event.phase == Phase.DELIVERED:
        print(f"order {event.order_number}: thank the customer")


class FunctionURL(BaseHTTPRequestHandler):
    """Invokes the function as AWS does: payload format 2.0, the body in base64.

    In this format the lines of a header are one text, joined with commas.
    """

    def do_POST(self) -> None:
        """Serve one request."""
        headers: dict[str, str] = {}
        for line, value in self.headers.items():
            name = line.lower()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        body = self.rfile.read(int(self.headers["Content-Length"]))
        invocation = {
            "version": "2.0",
            "rawPath": self.path,
            "headers": headers,
            "requestContext": {"http": {"method": "POST", "path": self.path}},
            "body": base64.b64encode(body).decode(),
            "isBase64Encoded": True,
        }
        answer = lambda_handler(invocation, None)
        self.send_response(answer["statusCode"])
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer["body"].encode())


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), FunctionURL)
    print(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()
