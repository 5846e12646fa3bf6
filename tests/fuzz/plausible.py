"""What a client might well send: commands and options that are valid for the most part."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.values import clean_text, value

IDS = ("a", "b", "c.d:e-f_g")
SECRET = {"secret": "store/key"}
URLS = [
    "wss://feed.example/stream?token=x",
    "wss://feed.example/stream?token=x",
    "wss://b.example",
    "ws://other.example:81/${a}",
    "wss://u:p@feed.example/",
    "ws://10.0.0.1/",
]
seconds = st.sampled_from([0, 0.5, 1, 5, 60, 300, 3600])
sizes = st.sampled_from([0, 1, 125, 1024, 65536, 1048576])
condition = st.fixed_dictionaries(
    {},
    optional={
        "pointer": st.sampled_from(["", "/a", "/a/0", "/~0~1", "a", "/" * 600]),
        "equals": value,
        "contains": clean_text,
        "regex": st.sampled_from(["^a+$", "(", "(?P<x>.)\\1", "[a-z]{1000}", "\\pN", ".*"]),
    },
)
message = st.one_of(
    clean_text,
    st.fixed_dictionaries(
        {"data": clean_text | st.sampled_from(["YQ==", "YQ", "?"])}, optional={"binary": st.booleans()}
    ),
)
step = st.one_of(
    message,
    st.just(SECRET),
    st.fixed_dictionaries(
        {}, optional={"data": clean_text, "expect": condition, "refusedBy": condition, "withinS": seconds}
    ),
)
header = clean_text | st.just(SECRET)
headers = st.dictionaries(st.sampled_from(["X-Key", "x-key", "Authorization", "Host", "a b", ""]), header, max_size=3)
_timers = ["connectTimeoutS", "closeTimeoutS", "requestTimeoutS", "reconnectBaseDelayS", "reconnectMaxDelayS"]
_timers += [
    "stableAfterS",
    "pingIntervalS",
    "pingTimeoutS",
    "idleTimeoutS",
    "assemblyTimeoutS",
    "openingDelayS",
    "maxAgeS",
]
_sizes = ["maxHandshakeBytes", "maxMessageBytes", "maxFrameBytes", "maxFragments", "queueMaxMessages", "queueMaxBytes"]
_sizes += ["batchMaxMessages", "batchMaxBytes", "reconnectAttempts", "refusedAttempts", "deflateWindowBits"]
_flags = ["rawPayload", "overlap", "onlyText", "jsonPayload", "permessageDeflate", "subprotocolRequired"]
_options: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(_timers, seconds),
    **dict.fromkeys(_sizes, sizes),
    **dict.fromkeys(_flags, st.booleans()),
    **dict.fromkeys(["rotateOn", "onlyMatching", "dropMatching"], condition),
    "overflow": st.sampled_from(["block", "drop_oldest", "dropOldest", "burst"]),
    "delivery": st.sampled_from(["message", "batch"]),
    "headers": headers,
    "subprotocols": st.lists(st.sampled_from(["a", "b", "a b"]), max_size=3),
    "origin": clean_text,
    "userAgent": clean_text,
    "secrets": st.dictionaries(st.sampled_from(["a", "b", "1"]), st.just(SECRET), max_size=2),
    "openingMessages": st.lists(step, max_size=4),
    "heartbeat": st.fixed_dictionaries(
        {"data": clean_text, "intervalS": seconds},
        optional={"expect": condition, "withinS": seconds, "publishAnswers": st.booleans(), "binary": st.booleans()},
    ),
    "tls": st.fixed_dictionaries(
        {}, optional={"ca": st.just(SECRET), "key": st.just(SECRET), "certificate": header, "serverName": clean_text}
    ),
    "proxy": st.fixed_dictionaries(
        {"url": st.sampled_from(["http://proxy.example:3128", "http://10.0.0.1:1", "ftp://x", "http://a/b/c"])},
        optional={"authorization": header},
    ),
    "prepare": st.fixed_dictionaries(
        {},
        optional={
            "app": st.sampled_from(["app", "a b"]),
            "method": st.sampled_from(["token", "../x", "a/b"]),
            "url": st.sampled_from(["https://token.example/${a}", "ws://x"]),
            "headers": headers,
            "timeoutS": seconds,
        },
    ),
}


@st.composite
def _some_options(draw: st.DrawFn) -> dict[str, Any]:
    """A few of them: all at once would contradict each other nearly always."""
    names = draw(st.lists(st.sampled_from(sorted(_options)), max_size=3, unique=True))
    return {name: draw(_options[name]) for name in names}


plausible_options = _some_options()
_id = st.sampled_from(["a", "a", "a", *IDS])
_topic = st.sampled_from(["t", "t", "a/b", "a/b", "websocket-events", "a b"])
_common: dict[str, st.SearchStrategy[Any]] = {
    "commandId": st.sampled_from(["1", "2", "3"]),
    "issuedAt": st.sampled_from(
        ["2026-01-01T00:00:01Z", "2026-01-01", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59Z"]
    ),
}
_match = st.fixed_dictionaries(
    {}, optional={"pointer": st.sampled_from(["/id", "", "x"]), "equals": value, "contains": clean_text}
)
_fields: dict[str, tuple[dict[str, st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]] = {
    "connect": (
        {"url": st.sampled_from(URLS)},
        {
            "id": _id,
            "topic": _topic,
            "autoReconnect": st.booleans(),
            "tags": st.dictionaries(clean_text, clean_text, max_size=2),
            "options": plausible_options,
            "replace": st.booleans(),
        },
    ),
    "disconnect": ({"id": _id}, {"keep": st.booleans()}),
    "reconnect": ({"id": _id}, {}),
    "startPublish": ({"id": _id, "topic": _topic}, {}),
    "stopPublish": ({"id": _id}, {}),
    "setTags": ({"id": _id, "tags": st.dictionaries(clean_text, clean_text, max_size=2)}, {}),
    "send": ({"id": _id}, {"message": message, "messages": st.lists(message, max_size=3), "ttlS": seconds}),
    "request": (
        {"id": _id, "message": message},
        {"match": _match, "replyTopic": _topic, "timeoutS": seconds, "ttlS": seconds},
    ),
    "drain": ({"instance": st.sampled_from(["other", ""])}, {}),
}


def _command(name: str) -> st.SearchStrategy[dict[str, Any]]:
    needed, optional = _fields[name]
    return st.fixed_dictionaries({"command": st.just(name), **needed}, optional={**optional, **_common})


plausible_command = st.sampled_from(sorted(_fields)).flatmap(_command)
