"""What a delivery to Flask meets before the view, and the apps of Flask's guide.

Beside what test_guides.py asks of every guide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_wtf import CSRFProtect  # type: ignore[import-untyped]
from markdown_it import MarkdownIt

from karla_receiver.adapters.flask import Karla
from tests.doors import PATH
from tests.signing import BODY, DOCS_SECRET, signature_header

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "flask.md"


def made_by(place: int) -> dict[str, Any]:
    fences = [token for token in MarkdownIt().parse(GUIDE.read_text()) if token.type == "fence"]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(fences[place].content, names)  # noqa: S102 - it is our own guide
    return names


def post(app: Flask, path: str = PATH, secret: str = DOCS_SECRET) -> int:
    headers = {**signature_header(BODY, secret), "Content-Type": "application/json"}
    return app.test_client().post(path, data=BODY, headers=headers).status_code


def test_the_first_app_receives(capsys: pytest.CaptureFixture[str]) -> None:
    app = made_by(0)["app"]
    assert (post(app), post(app, secret="another-secret")) == (200, 401)
    assert capsys.readouterr().out == "shop delivered NT-20417\n"


def test_only_the_delivery_passes_the_login_and_the_tokens() -> None:
    names = made_by(1)
    app: Flask = names["app"]
    app.post("/orders", endpoint="orders")(lambda: "")

    assert app.test_client().get("/orders").status_code == 401
    assert post(app, "/orders") == 400, "there is no token"
    app.config["WTF_CSRF_ENABLED"] = False
    assert post(app, "/orders") == 401
    assert post(app) == 200


def test_a_view_of_ones_own_is_exempted_as_the_guide_says() -> None:
    protection = made_by(1)["csrf"]
    names = made_by(2)
    app: Flask = names["app"]
    app.config["SECRET_KEY"] = "of-the-sessions"
    protection.init_app(app)

    assert post(app) == 400
    protection.exempt(names["on_karla_event"])
    assert post(app) == 200


@pytest.mark.parametrize("is_first", [True, False])
def test_no_token_is_asked_of_a_delivery_and_of_every_other_post(is_first: bool) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY="of-the-sessions", KARLA_WEBHOOK_SECRET=DOCS_SECRET)
    extensions: list[Any] = [Karla(), CSRFProtect()]
    for extension in extensions if is_first else reversed(extensions):
        extension.init_app(app)
    app.post("/orders", endpoint="orders")(lambda: "")

    assert post(app) == 200
    assert post(app, "/orders") == 400
