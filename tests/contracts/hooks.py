"""What schemathesis cannot know of the servers by their documents."""

import json
import os

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
