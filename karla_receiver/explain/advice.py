"""What each cause means, what to do about it, and where it usually happens."""

from __future__ import annotations

from typing import Final, NamedTuple

from karla_receiver.explain.causes import Cause, Change, Code

__all__ = ["cause"]


class _Advice(NamedTuple):
    sentence: str
    fix: str
    where: dict[str, str]


def cause(change: Change) -> Cause:
    """Return what is known about a change, with how it showed."""
    return Cause(code=change.code, evidence=change.evidence, **_ADVICE[change.code]._asdict())


_RAW_BODY: Final = (
    "Hand on the bytes as they came, before anything parses them; the adapters of karla-receiver do"
    " so. A parser may run afterwards."
)
_PARSED: Final = {
    "Flask": "json.dumps(request.get_json()); take request.get_data()",
    "FastAPI, Starlette": "a model or dict parameter, dumped again; take await request.body()",
    "Django": "json.dumps of request.data (REST framework); take request.body",
    "aiohttp": "await request.json(); take await request.read()",
    "AWS API Gateway": "a mapping template instead of the Lambda proxy integration",
    "proxies": "JSON.stringify(await request.json()) in a Node, worker or workflow step in between",
}
_REORDERED: Final = {
    **_PARSED,
    "Flask": "jsonify, which sorts keys; take request.get_data()",
    "Go": "json.Marshal of a map, which sorts keys; keep the []byte",
    "PostgreSQL": "a jsonb column, which has an order of its own; use bytea or text",
}
_TEXT_FILE: Final = {
    "curl": "-d @file drops line ends; use --data-binary @file",
    "git": "core.autocrlf converts files; mark them -text in .gitattributes",
    "editors": "saving adds a newline, converts line ends or writes a byte order mark",
    "PowerShell": "Out-File and Set-Content change encoding and line ends; use -AsByteStream",
}
_SECRET_FILE: Final = {
    "shell": "echo adds a newline; use printf %s",
    "Python": "Path.read_text() keeps the newline at a file's end; add .strip()",
    "Kubernetes": "echo secret | base64 encodes a newline too; use stringData",
}
_HEADER_AS_IT_CAME: Final = "Hand on the header's value as it came, from the request itself."
_HEADER_PLACES: Final = {
    "AWS API Gateway": "a mapping template that quotes, encodes or renames headers",
    "nginx": "proxy_set_header with a value that is built from parts",
    "queues, logs": "a column or line that is too short, or that was copied by hand",
}
_KARLA_OR_SCRIPT: Final = (
    "Karla signs t, a dot and the raw body, with t in unix seconds. If a script of yours signed"
    " this, use karla_receiver.sign or `karla-receiver send`."
)
_REPORT: Final = "If it is from Karla, report it with the time: sending it again does not help."
_AGAIN: Final = "Nothing: the sender tries again."
_SCRIPTS: Final = {"tests, scripts": "a sender written by hand"}
_STRANGERS: Final = {"the internet": "a browser, a health check or a scanner"}
_HANDLERS: Final = {"your app": "what its handlers do"}
_CLOCKS: Final = {
    "containers, VMs": "a clock that stopped while the machine slept; run NTP or chrony",
    "tests": "a frozen clock (freezegun, time-machine) beside a real signature",
}

_ADVICE: Final[dict[Code, _Advice]] = {
    Code.JSON_RESERIALISED: _Advice(
        "The JSON was parsed and written anew: the same data in other bytes.", _RAW_BODY, _PARSED
    ),
    Code.KEYS_REORDERED: _Advice(
        "The JSON was parsed and written anew, its keys in another order.", _RAW_BODY, _REORDERED
    ),
    Code.NEWLINES_CHANGED: _Advice(
        "Newlines or blanks around the body, or the kind of its line ends, were changed.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": ".strip(), or a file opened in text mode; use 'rb' and 'wb'"},
    ),
    Code.BYTE_ORDER_MARK: _Advice(
        "A byte order mark was put in front of the body, or taken from it.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": "encoding='utf-8-sig'; use 'utf-8'"},
    ),
    Code.COMPRESSION_CHANGED: _Advice(
        "The body was signed before it was compressed, or signed compressed and then unpacked.",
        "Verify the bytes that were signed: have nothing in between compress or unpack requests.",
        {
            "aiohttp": "auto_decompress decompresses request bodies; set it to False",
            "proxies": "one that compresses requests, which no framework decompresses by itself",
        },
    ),
    Code.ENCODED_BODY: _Advice(
        "The body is still encoded: in base64, in hex, for a URL or for HTML.",
        "Decode it before the receiver, or take the raw body.",
        {
            "AWS Lambda": "event['isBase64Encoded'] is true: decode event['body']",
            "curl": "--data-urlencode; use --data-binary",
            "proxies": "a gateway that forwards the body as a form",
            "queues, databases": "a body that was encoded to fit",
        },
    ),
    Code.JSON_IN_STRING: _Advice(
        "The body was wrapped into a JSON string.",
        "Hand on the text inside: json.loads(body).encode().",
        {"queues": "a body that was dumped twice", "requests, httpx": "json=text; use data=text"},
    ),
    Code.WRAPPED_BODY: _Advice(
        "What was verified is an envelope around the body.",
        "Hand on the text of the field that the evidence names.",
        {
            "AWS Lambda": "event['body'], decoded if event['isBase64Encoded']; not the event",
            "AWS SQS, SNS": "the message's body, and SNS's Message in it; or raw message delivery",
            "Google Pub/Sub": "message.data, decoded from base64",
        },
    ),
    Code.PYTHON_REPR: _Advice(
        "The body is Python's own notation of it, not its bytes.",
        "Hand on the bytes themselves.",
        {
            "Flask": "str(request.data) or str(request.json); take request.get_data()",
            "Python": "f'{body}' and str(body); for text use body.decode()",
        },
    ),
    Code.CHARSET_CHANGED: _Advice(
        "The body was decoded with one character set and encoded with another.",
        _RAW_BODY,
        {
            "requests, httpx": "response.text with a guessed encoding; use .content",
            "PowerShell": "Invoke-RestMethod with a text body is sent as ISO-8859-1",
        },
    ),
    Code.OTHER_SCHEME: _Advice(
        "Something else than the HMAC-SHA256 of `t.body` was signed.", _KARLA_OR_SCRIPT, _SCRIPTS
    ),
    Code.SECRET_BLANKS: _Advice(
        "The configured secret has a newline or blanks that do not belong to it.",
        "Strip it where it is read.",
        _SECRET_FILE,
    ),
    Code.SECRET_QUOTED: _Advice(
        "The configured secret has quotes or brackets around it that do not belong to it.",
        "Remove them.",
        {"Docker": "--env-file takes quotes literally", "Python": "str(secret) of bytes"},
    ),
    Code.SECRET_LINE: _Advice(
        "The configured secret is a line of settings, with the variable's name or a comment.",
        "Configure the value alone.",
        {
            "Docker, systemd": "env files know no comment behind a value",
            "secret files": "a line of .env in a file that should hold the secret alone",
        },
    ),
    Code.SECRET_LIST: _Advice(
        "The configured secret holds several secrets, of which one is right.",
        "Configure each on its own: as arguments, or with commas in KARLA_WEBHOOK_SECRETS.",
        {"rotation": "the old and the new secret in KARLA_WEBHOOK_SECRET"},
    ),
    Code.SECRET_ENCODED: _Advice(
        "The signature fits the configured secret once that is decoded.",
        "Configure the decoded secret; or if a script signed this, have it not decode.",
        {
            "Kubernetes": "a value copied from `kubectl get secret -o yaml`, which is base64",
            "other webhook libraries": "svix and standardwebhooks write whsec_ in front of base64",
            "tests, scripts": "bytes.fromhex(secret) or uuid.bytes; Karla takes the text as it is",
        },
    ),
    Code.SECRET_RESPELLED: _Advice(
        "The right secret is another spelling of the configured one.",
        "Configure the secret exactly as Karla shows it.",
        {
            "databases": "a UUID column that changes capitals or hyphens",
            "Kubernetes": "stringData that was decoded by hand before",
        },
    ),
    Code.SECRET_REGISTERED_WITH_BLANKS: _Advice(
        "Karla signs with the configured secret plus a newline, a blank or quotes.",
        "Register a clean secret with Karla, and configure that.",
        _SECRET_FILE,
    ),
    Code.SECRET_OF_ANOTHER_ENVIRONMENT: _Advice(
        "It was signed with the secret of another environment.",
        "Configure that secret here, or register this URL with a secret of its own.",
        {
            "deployments": "staging's settings in production, or the reverse",
            "rotation": "an old secret that was removed while Karla still signs with it",
        },
    ),
    Code.HEADER_TRUNCATED: _Advice(
        "The signature was cut short.", _HEADER_AS_IT_CAME, _HEADER_PLACES
    ),
    Code.HEADER_REPEATED: _Advice(
        "There is more than one signature header, so it cannot be told which one counts.",
        "Have only one of them set.",
        {
            "nginx": "add_header or proxy_set_header beside the header that came",
            "tests": "a client with a default header beside that of the request",
        },
    ),
    Code.HEADER_RESPELLED: _Advice(
        "The header is damaged: quoted, encoded, broken, or not `t=`, a comma and `v1=` in hex.",
        "Hand on its value as it came; in a script that signs, use karla_receiver.sign.",
        {**_HEADER_PLACES, **_SCRIPTS, "Python": "str(value) of bytes, or json.dumps"},
    ),
    Code.HEADER_RENAMED: _Advice(
        "The signature came in a header of another name.",
        "Have it forwarded as Karla-Signature.",
        {
            "WSGI, PHP, CGI": "HTTP_KARLA_SIGNATURE is the variable's name, not the header's",
            "nginx": "names with underscores are dropped; write Karla-Signature",
            "AWS API Gateway": "a mapping that renames headers",
        },
    ),
    Code.TIMESTAMP_RESPELLED: _Advice(
        "t is not a plain decimal number of seconds.",
        _KARLA_OR_SCRIPT,
        {"JavaScript": "Date.now() counts milliseconds", "Python": "time.time() without int()"},
    ),
    Code.TOO_LATE: _Advice(
        "The delivery is genuine, but was signed too long before it was verified.",
        "Verify on arrival, before a queue; set the clock if it is ahead. To replay an old"
        " delivery, sign it anew: `karla-receiver replay`.",
        {
            "queues": "verification in the worker in place of the endpoint",
            "Python": "datetime.utcnow().timestamp() takes UTC for local time",
            **_CLOCKS,
        },
    ),
    Code.CLOCK_BEHIND: _Advice(
        "The delivery is genuine, but dated ahead: the receiver's clock is behind, or the sender's"
        " ahead.",
        "Set the clock that is wrong, by NTP; by whole hours, it is a time zone: compare unix time"
        " with unix time.",
        {**_CLOCKS, "tests, scripts": "a sender that reads a local date as UTC"},
    ),
    Code.VERIFIES_HERE: _Advice(
        "It verifies here: the receiver that refused it has another secret, clock or tolerance.",
        "Compare the receiver's secret, clock and tolerance with those that you gave.",
        {"deployments": "a process that was started before its secret was changed"},
    ),
    Code.NO_HEADER: _Advice(
        "There is no Karla-Signature header, or it is empty.",
        "See whether the request is Karla's, and whether a proxy drops the header.",
        {
            "AWS CloudFront": "headers that the origin request policy does not name are dropped",
            "Django": "request.headers['Karla-Signature'], or HTTP_KARLA_SIGNATURE in META",
        },
    ),
    Code.MALFORMED_HEADER: _Advice(
        "The header is not written as Karla writes it.", _HEADER_AS_IT_CAME, _HEADER_PLACES
    ),
    Code.NO_V1: _Advice(
        "The header holds no v1, which is the signature.", _HEADER_AS_IT_CAME, _HEADER_PLACES
    ),
    Code.METHOD_NOT_ALLOWED: _Advice(
        "The request is not a POST, as Karla's deliveries are.",
        "Let health checks ask for another path; register the URL that a redirect leads to.",
        {**_STRANGERS, "redirects": "a POST that was redirected and became a GET"},
    ),
    Code.HTTPS_REQUIRED: _Advice(
        "The request did not come over https, which the receiver requires.",
        "Register an https URL; behind a proxy, have the server believe its scheme.",
        {"proxies": "X-Forwarded-Proto that the server does not trust"},
    ),
    Code.LENGTH_REQUIRED: _Advice(
        "The body came in pieces, and the server does not tell where it ends.",
        "Have the proxy in front send whole bodies, or use a server that sets"
        " wsgi.input_terminated.",
        {"WSGI": "a server that reads chunked requests without saying so"},
    ),
    Code.BAD_CONTENT_LENGTH: _Advice(
        "Its Content-Length is not one decimal number.",
        "Nothing, if it is a stranger; else look at what sends or forwards it.",
        _STRANGERS,
    ),
    Code.BODY_INCOMPLETE: _Advice(
        "The body ended before its declared length.",
        "Nothing, if it is rare: the sender tries again. Else look at the proxy's time-outs.",
        {"proxies": "a time-out while a request is read"},
    ),
    Code.BODY_TOO_LARGE: _Advice(
        "The body is longer than the receiver takes.",
        "Nothing, if it is a stranger; else raise max_body_bytes, and the limits of the framework.",
        {**_STRANGERS, "Flask, Quart": "a lower MAX_CONTENT_LENGTH"},
    ),
    Code.CLIENT_DISCONNECTED: _Advice(
        "The sender went away before it had sent all.",
        "Nothing, if it is rare: the sender tries again. Else answer faster.",
        {"proxies": "a time-out that is shorter than the endpoint takes"},
    ),
    Code.INVALID_JSON: _Advice(
        "The body is not JSON that can be represented safely.", _REPORT, _SCRIPTS
    ),
    Code.INVALID_ENVELOPE: _Advice("The body is JSON, but not an event.", _REPORT, _SCRIPTS),
    Code.UNDECODABLE_EVENT: _Advice(
        "A handler wants the event, which does not fit its type.",
        "Register a handler for `*` that takes any event, or update karla-receiver.",
        _SCRIPTS,
    ),
    Code.HANDLER_ERROR: _Advice(
        "A handler raised an error.", "Mend it: the app's log has its traceback.", _HANDLERS
    ),
    Code.RETRY_LATER: _Advice("A handler asked for a later try.", _AGAIN, _HANDLERS),
    Code.IN_PROGRESS: _Advice("The same delivery was being handled.", _AGAIN, _HANDLERS),
    Code.UNAVAILABLE: _Advice(
        "The idempotency store or the inbox could not be reached.",
        "See that its database runs: the app's log names what failed.",
        {"databases": "one that restarts, or refuses further connections"},
    ),
    Code.BODY_CUT: _Advice(
        "Only the beginning of the body was recorded, so its signature cannot be checked.",
        "Look at the reason alone.",
        {"karla-receiver listen": "it records the first mebibyte of a body, and what came of it"},
    ),
    Code.EMPTY_BODY: _Advice(
        "The body is empty, which Karla's never is.",
        "Read the body once, before anything else does.",
        {
            "Flask": "request.form or request.stream was read before request.get_data()",
            "Starlette": "a middleware that consumed request.stream()",
            "redirects": "a POST that was redirected and became a GET",
        },
    ),
    Code.OTHER_LENGTH: _Advice(
        "The body is not as long as the request said.",
        _RAW_BODY,
        {"proxies": "one that rewrites or cuts bodies", "recordings": "a body that was cut"},
    ),
    Code.ENCODING_DECLARED: _Advice(
        "The request says that its body is encoded, so it may have been decoded on the way.",
        _RAW_BODY,
        {"aiohttp": "auto_decompress decompresses request bodies; set it to False"},
    ),
    Code.SORTED_KEYS: _Advice(
        "The keys of the JSON are sorted, so it was probably written anew, out of an order that is"
        " not known here.",
        "Give a recording with a genuine delivery: --like FILE, or like=[body].",
        _REORDERED,
    ),
    Code.NOT_JSON: _Advice(
        "The body is no JSON text, as Karla's always is: it was cut or damaged.",
        _RAW_BODY,
        {"recordings": "a body that was cut, or decoded with errors='replace'"},
    ),
}
