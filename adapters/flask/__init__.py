"""Flask: an extension, and views for deliveries. Needs the extra `flask`.

`Karla` gives handlers their app: its secret, its context, a route and commands.
`endpoint(receiver)` is the view of a receiver whose handlers do everything; `@webhook` makes a view
of your own receive events.
"""

from __future__ import annotations

from karla_receiver.adapters.flask.extension import Karla
from karla_receiver.adapters.flask.views import FlaskView, View, endpoint, webhook

__all__ = ["FlaskView", "Karla", "View", "endpoint", "webhook"]
