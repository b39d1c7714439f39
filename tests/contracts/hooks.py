"""What schemathesis cannot know of the servers by their documents."""

import schemathesis
from hypothesis import strategies

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
