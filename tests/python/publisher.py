"""Publishes with the package cloudevents, in all three modes, to the host whose address it is given, and reads back what it
published in all modes. What was read has to be what was sent."""

import http.client
import json
import sys
from datetime import datetime, timezone

from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

HOST = sys.argv[1].removeprefix("http://")
# What nerve adds to an event that had none of it.
ADDED = {"correlationid", "datacontenttype", "traceparent"}


def ask(path, message=None):
    """One request with just the headers of the message: other clients add a content type of their own."""
    connection = http.client.HTTPConnection(HOST, timeout=30)
    if message is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, message.body, message.headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, f"{path}: {answer.status} {body}"
    return {name.lower(): value for name, value in answer.getheaders()}, body


def event(number, data, **attributes):
    return CloudEvent(
        {
            "id": f"python-{number}",
            "source": "/python/ü x",
            "type": "test.python",
            "specversion": "1.0",
            "time": datetime(2026, 1, 2, 3, 4, number % 60, 250000, tzinfo=timezone.utc),
            "partitionkey": f"k {number}",
            **attributes,
        },
        data,
    )


EVENTS = [
    event(0, {"text": "ü", "number": 1.5, "nested": [{"deep": None}, True]}),
    event(1, {"a": 1}, datacontenttype="application/json", subject='a "quoted" 100% subject'),
    event(2, b"\x00\xff\x01", datacontenttype="application/octet-stream"),
    event(3, "plain text ü", datacontenttype="text/plain"),
    event(4, {"x": []}, dataschema="https://schemas.example/x", myextension="some ✓ text"),
    event(5, None),
]


def said(event):
    """What an event says: a text stays one however it travelled, and no data is null."""
    attributes = {name: value for name, value in event.get_attributes().items() if name not in ADDED}
    data = event.get_data()
    kind = event.get_attributes().get("datacontenttype") or "application/json"
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, bytes) and kind.startswith("application/json"):
        data = json.loads(data) if data else None
    return attributes, data


def same(where, one, other):
    assert said(one) == said(other), f"{where}: {said(one)} is not {said(other)}"


def batch(events):
    whole = b"[" + b",".join(JSONFormat().write(one) for one in events) + b"]"
    return HTTPMessage({"content-type": "application/cloudevents-batch+json"}, whole)


def publish():
    for index, one in enumerate(EVENTS):
        _, first = ask("/v1/events", [to_binary_event, to_structured_event][index % 2](one))
        # The same event in the other two modes is the same event.
        _, second = ask("/v1/events", [to_structured_event, to_binary_event][index % 2](one))
        first, second = json.loads(first), json.loads(second)
        assert second["duplicate"] and first["offset"] == second["offset"], (first, second)
    _, answer = ask("/v1/events", batch(EVENTS + [event(6, {"batched": True})]))
    answer = json.loads(answer)["events"]
    assert [one["duplicate"] for one in answer] == [True] * len(EVENTS) + [False], answer
    EVENTS.append(event(6, {"batched": True}))


def read():
    for one in EVENTS:
        for mode in ("binary", "structured"):
            headers, body = ask(f"/v1/events/{one.get_id()}?mode={mode}")
            same(mode, from_http_event(HTTPMessage(headers, body)), one)
    headers, body = ask("/v1/events?type=test.python&mode=batched")
    assert headers["content-type"].startswith("application/cloudevents-batch+json"), headers
    found = [JSONFormat().read(None, json.dumps(one)) for one in json.loads(body)]
    assert len(found) == len(EVENTS), found
    for ours, theirs in zip(EVENTS, found):
        same("batched", theirs, ours)
    # The next page is empty, and where it begins is in the answer.
    _, path = headers["link"].split("<")[0], headers["link"].split("<")[1].split(">")[0]
    assert json.loads(ask(path)[1]) == []


def follow():
    connection = http.client.HTTPConnection(HOST, timeout=30)
    connection.request("GET", "/v1/events?type=test.python&mode=structured", headers={"accept": "text/event-stream"})
    found = []
    for line in connection.getresponse():
        if line.startswith(b"data:"):
            found.append(JSONFormat().read(None, line[5:]))
        if len(found) == len(EVENTS):
            break
    for ours, theirs in zip(EVENTS, found):
        same("followed", theirs, ours)


publish()
read()
follow()
print("the same in all modes")
