"""What schemathesis cannot know of the servers by their documents."""

import itertools
import json
import os
import time
import urllib.error
import urllib.request

import schemathesis
from hypothesis import strategies

# Ids of things that are there, so that not every request ends at "not found".
REAL = json.loads(os.environ.get("CONTRACT_IDS", "{}"))

LINES = [
    "v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", "m=audio 45000 RTP/AVP 0",
    "a=rtpmap:0 PCMU/8000", "a=sendrecv",
]


def offer(lines):
    return "".join(f"{line}\r\n" for line in lines).encode()


# Offers that are good, good ones with lines missing or twice, and anything.
schemathesis.openapi.media_type(
    "application/sdp",
    strategies.one_of(
        strategies.just(offer(LINES)),
        strategies.lists(strategies.sampled_from(LINES), max_size=12).map(offer),
        strategies.binary(max_size=200),
    ),
)


@schemathesis.serializer("application/sdp")
def write(_context, value):
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.deserializer("application/sdp")
def read(_context, response):
    return response.content.decode()


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Every other name becomes that of something real, except where it would be deleted."""
    if not path_parameters or context.operation.method.lower() == "delete":
        return path_parameters
    odd = sum(map(ord, "".join(map(str, path_parameters.values())))) % 2
    named = {name: REAL.get(name, value) for name, value in path_parameters.items()}
    return named if odd else path_parameters


CALLS = "/v1.0/communications/calls"
CREATES = itertools.count()


@schemathesis.hook
def map_headers(context, headers):
    """A create with the key of an earlier one is answered as that was, its call hung up by now or not.

    That would be taken for a new call that is not there. Keys that are to be refused stay as they are.
    """
    key = (headers or {}).get("Idempotency-Key")
    good = isinstance(key, str) and 0 < len(key) <= 100 and key.isascii() and key.isprintable()
    if good and (context.operation.method.lower(), context.operation.path) == ("post", CALLS):
        return {**headers, "Idempotency-Key": f"{key}.{next(CREATES)}"}
    return headers


@schemathesis.hook
def after_call(context, case, response):
    """A hang-up is answered before the call is gone, which its state tells until then. What comes next may
    hold us to it, so it has to go first."""
    hung_up = (case.operation.method.lower(), case.operation.path) == ("delete", f"{CALLS}/{{call}}")
    if not hung_up or response.status_code != 204:
        return
    until = time.monotonic() + 10
    token = response.request.headers.get("Authorization", "")
    while is_there(response.request.url, token):
        if time.monotonic() > until:
            raise AssertionError(f"{response.request.url} is there 10 s after it was hung up")
        time.sleep(0.01)


def is_there(url, token):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token}), timeout=10):
            return True
    except urllib.error.HTTPError as error:
        return error.code != 404
