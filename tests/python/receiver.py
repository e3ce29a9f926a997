"""A receiver of webhooks: verifies each request with the package standardwebhooks, reads it with the package cloudevents,
and prints what it got, one JSON object in each line. It prints its port first, and takes its secret from its arguments."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook, WebhookVerificationError


def attributes(event):
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in event.get_attributes().items()
    }


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = {"id": headers.get("webhook-id"), "signatures": len(headers.get("webhook-signature", "").split(" "))}
        try:
            webhook.verify(body, headers, json_parse=False)
            said["verified"] = True
        except WebhookVerificationError as refused:
            said["verified"] = str(refused)
        event = from_http_event(HTTPMessage(headers=headers, body=body))
        assert isinstance(event, CloudEvent), event
        data = event.get_data()
        said["attributes"] = attributes(event)
        said["data"] = list(data) if isinstance(data, bytes) else data
        print(json.dumps(said), flush=True)
        self.send_response(204 if said["verified"] is True else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


webhook = Webhook(sys.argv[1])
server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
