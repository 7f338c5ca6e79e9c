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
    advice = _ADVICE[change.code]
    return Cause(
        code=change.code,
        sentence=advice.sentence,
        evidence=change.evidence,
        fix=advice.fix,
        where=dict(advice.where),
    )


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
    "GitHub Actions": "a newline pasted into a secret stays in it",
}
_CONFIGURE_AS_SHOWN: Final = "Configure the secret exactly as Karla shows it."
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
_SENDER_SCRIPTS: Final = {"tests, scripts": "a sender written by hand"}
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
    Code.UNICODE_ESCAPED: _Advice(
        "Letters beyond ASCII were escaped as \\uXXXX after signing.",
        _RAW_BODY,
        {**_PARSED, "Python": "json.dumps without ensure_ascii=False"},
    ),
    Code.UNICODE_UNESCAPED: _Advice(
        "Letters that were signed as \\uXXXX were written out.", _RAW_BODY, _PARSED
    ),
    Code.KEYS_REORDERED: _Advice(
        "The keys of the JSON were put into another order.",
        _RAW_BODY,
        {**_PARSED, "Flask": "jsonify, which sorts keys; take request.get_data()"},
    ),
    Code.NEWLINE_ADDED: _Advice(
        "A newline or blanks were added before or after the body.", _RAW_BODY, _TEXT_FILE
    ),
    Code.NEWLINE_LOST: _Advice(
        "The newline before or after the body was lost.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": ".strip(), or reading line by line"},
    ),
    Code.CRLF_BECAME_LF: _Advice(
        "CR LF line ends in the body became LF.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": "a file opened in text mode; open it in mode 'rb'"},
    ),
    Code.LF_BECAME_CRLF: _Advice(
        "LF line ends in the body became CR LF.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": "a file written in text mode on Windows; use mode 'wb'"},
    ),
    Code.BOM_ADDED: _Advice(
        "A byte order mark was put in front of the body.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": "encoding='utf-8-sig'; use 'utf-8'"},
    ),
    Code.BOM_LOST: _Advice(
        "The body was signed with a byte order mark that was dropped.",
        _RAW_BODY,
        {**_TEXT_FILE, "Python": "decoding with 'utf-8-sig'"},
    ),
    Code.NOT_DECOMPRESSED: _Advice(
        "The body came compressed, and was signed before that.",
        "Decompress it before the receiver, or have the proxy not compress requests.",
        {
            "Flask, Django, Starlette": "none of them decompresses request bodies",
            "proxies": "a gateway that compresses what it forwards",
        },
    ),
    Code.DECOMPRESSED: _Advice(
        "The body was signed compressed, and decompressed on the way.",
        _RAW_BODY,
        {
            "aiohttp": "auto_decompress decompresses request bodies; set it to False",
            "proxies": "a gateway, or a middleware, that decompresses requests",
        },
    ),
    Code.BASE64_BODY: _Advice(
        "The body is still encoded in base64.",
        "Decode it first: base64.b64decode(body).",
        {
            "AWS Lambda": "event['isBase64Encoded'] is true: decode event['body']",
            "queues": "a message whose body was encoded to fit",
        },
    ),
    Code.FORM_BODY: _Advice(
        "The body was URL-encoded, as a form field.",
        "Take the raw body, or decode the field before the receiver.",
        {
            "curl": "--data-urlencode; use --data-binary",
            "proxies": "a gateway that forwards the body as a form",
        },
    ),
    Code.JSON_IN_STRING: _Advice(
        "The body was wrapped into a JSON string.",
        "Hand on the text inside: json.loads(body).encode().",
        {
            "queues": "a body that was dumped a second time when it was put there",
            "requests, httpx": "json=text in place of content=text or data=text",
        },
    ),
    Code.WRAPPED_BODY: _Advice(
        "What was verified is an envelope around the request, not its body.",
        "Hand on its field `body`, decoded if isBase64Encoded is true.",
        {"AWS Lambda": "json.dumps(event) in place of event['body']"},
    ),
    Code.PYTHON_REPR: _Advice(
        "The body is Python's own notation of it, not its bytes.",
        "Hand on the bytes themselves.",
        {
            "Flask": "str(request.data) or str(request.json); take request.get_data()",
            "Django": "str(request.body); take request.body",
            "Python": "f'{body}' and str(body); for text use body.decode()",
        },
    ),
    Code.CHARSET_CHANGED: _Advice(
        "The body was decoded with one character set and encoded with another.",
        _RAW_BODY,
        {
            "requests, httpx": "response.text with a guessed encoding; use .content",
            "Java servlets": "getReader() without setCharacterEncoding; use getInputStream()",
            "PowerShell": "Invoke-RestMethod with a text body is sent as ISO-8859-1",
        },
    ),
    Code.OTHER_MESSAGE: _Advice(
        "The secret is right, but something else than `t.body` was signed.",
        _KARLA_OR_SCRIPT,
        _SENDER_SCRIPTS,
    ),
    Code.OTHER_ALGORITHM: _Advice(
        "The signature was not made with HMAC-SHA256.", _KARLA_OR_SCRIPT, _SENDER_SCRIPTS
    ),
    Code.SECRET_BLANKS: _Advice(
        "The configured secret has a newline or blanks that do not belong to it.",
        "Strip it where it is read.",
        _SECRET_FILE,
    ),
    Code.SECRET_QUOTED: _Advice(
        "The configured secret has quotes around it that do not belong to it.",
        "Remove the quotes.",
        {
            "Docker": "--env-file takes quotes literally",
            "CI, hosting panels": "a value pasted with its quotes",
        },
    ),
    Code.SECRET_LINE: _Advice(
        "The configured secret is a whole line of settings, with the variable's name.",
        "Configure only what follows the sign.",
        {"secret files": "a line of .env in a file that should hold the secret alone"},
    ),
    Code.SECRET_BASE64: _Advice(
        "The signature fits the secret once that is decoded from base64.",
        "Configure the decoded secret; or if a script signed this, have it not decode.",
        {
            "Kubernetes": "a value copied from `kubectl get secret -o yaml`, which is base64",
            "other webhook libraries": "svix and standardwebhooks decode secrets; Karla does not",
        },
    ),
    Code.SECRET_HEX: _Advice(
        "The signature fits the secret once that is decoded from hex.",
        "Configure the decoded secret; or if a script signed this, have it not decode.",
        {"tests, scripts": "bytes.fromhex(secret) or uuid.bytes; Karla takes the text as it is"},
    ),
    Code.SECRET_DECODED: _Advice(
        "The right secret is the encoded form of the one that is configured.",
        _CONFIGURE_AS_SHOWN,
        {"Kubernetes": "stringData that was decoded by hand before"},
    ),
    Code.SECRET_URL_ENCODED: _Advice(
        "The configured secret is URL-encoded.",
        "Configure it decoded.",
        {"settings as URLs": "a secret copied out of a connection URL"},
    ),
    Code.SECRET_CASE: _Advice(
        "The configured secret differs from the right one in upper and lower case.",
        _CONFIGURE_AS_SHOWN,
        {"databases": "a UUID column that changes the case of what it stores"},
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
    Code.HEADER_SPLIT: _Advice(
        "The header was broken over several lines or by blanks.",
        _HEADER_AS_IT_CAME,
        {**_HEADER_PLACES, "mail, terminals": "a line that was wrapped when it was copied"},
    ),
    Code.HEADER_REPEATED: _Advice(
        "The same signature header came more than once.",
        "Have it set once.",
        {
            "nginx": "add_header or proxy_set_header beside the header that came",
            "proxies": "two in a row that each add a copy",
        },
    ),
    Code.HEADER_JOINED: _Advice(
        "There is more than one signature header, and it cannot be told which one counts.",
        "Have only one of them set.",
        {
            "nginx": "add_header or proxy_set_header beside the header that came",
            "tests": "a client with a default header beside that of the request",
        },
    ),
    Code.HEADER_QUOTED: _Advice(
        "The header's value has quotes in it.",
        _HEADER_AS_IT_CAME,
        {**_HEADER_PLACES, "Python": "str(value) of bytes, or json.dumps(value)"},
    ),
    Code.HEADER_URL_ENCODED: _Advice(
        "The header's value is URL-encoded.", _HEADER_AS_IT_CAME, _HEADER_PLACES
    ),
    Code.HEADER_RESPELLED: _Advice(
        "The header's elements are not `t=` and `v1=` with a comma between them.",
        _HEADER_AS_IT_CAME,
        {**_HEADER_PLACES, **_SENDER_SCRIPTS},
    ),
    Code.HEADER_NAME_IN_VALUE: _Advice(
        "The header's value begins with the header's name.",
        _HEADER_AS_IT_CAME,
        {"curl": "a line of `-v` output, copied whole", **_HEADER_PLACES},
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
    Code.SIGNATURE_IN_BASE64: _Advice(
        "v1 is written in base64, not in hex.", _KARLA_OR_SCRIPT, _SENDER_SCRIPTS
    ),
    Code.TIMESTAMP_UNIT: _Advice(
        "t does not count seconds.",
        _KARLA_OR_SCRIPT,
        {"JavaScript": "Date.now() counts milliseconds", "Java, Go": "millis or nanos of a clock"},
    ),
    Code.TIMESTAMP_RESPELLED: _Advice(
        "t is not a plain decimal number.",
        _KARLA_OR_SCRIPT,
        {"Python": "time.time() without int()", **_SENDER_SCRIPTS},
    ),
    Code.TIME_ZONE: _Advice(
        "The delivery is genuine, but dated ahead by whole hours: by a time zone, or a clock.",
        "Compare unix time with unix time: time.time(), never a local date without its zone.",
        {
            "Python": "datetime.utcnow().timestamp() takes UTC for local time",
            "tests, scripts": "a sender that reads a local date as UTC",
        },
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
        "Set the clock that is wrong, by NTP.",
        _CLOCKS,
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
        "The body is not JSON that can be represented safely.",
        "If it is from Karla, report it with the time: sending it again does not help.",
        _SENDER_SCRIPTS,
    ),
    Code.INVALID_ENVELOPE: _Advice(
        "The body is JSON, but not an event.",
        "If it is from Karla, report it with the time: sending it again does not help.",
        _SENDER_SCRIPTS,
    ),
    Code.UNDECODABLE_EVENT: _Advice(
        "A handler wants the event, which does not fit its type.",
        "Register a handler for `*` that takes any event, or update karla-receiver.",
        _SENDER_SCRIPTS,
    ),
    Code.HANDLER_ERROR: _Advice(
        "A handler raised an error.",
        "Mend the handler: the app's log has its traceback.",
        _HANDLERS,
    ),
    Code.RETRY_LATER: _Advice(
        "A handler asked for a later try.", "Nothing: the sender tries again.", _HANDLERS
    ),
    Code.IN_PROGRESS: _Advice(
        "The same delivery was being handled.", "Nothing: the sender tries again.", _HANDLERS
    ),
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
        "The keys of the JSON are sorted, so it was probably written anew. The order that was"
        " signed is lost.",
        _RAW_BODY,
        {**_PARSED, "Flask": "jsonify, which sorts keys; take request.get_data()"},
    ),
    Code.NOT_JSON: _Advice(
        "The body is no JSON text, as Karla's always is: it was cut or damaged.",
        _RAW_BODY,
        {"recordings": "a body that was cut, or decoded with errors='replace'"},
    ),
}
