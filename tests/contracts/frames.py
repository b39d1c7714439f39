"""Real frames of a real socket against the schemas of /asyncapi.json."""

import asyncio
import json
import urllib.error
import urllib.request

import jsonschema
import websockets

MEETING = "19:meeting_frames@thread.v2"
CREATE = {
    "callbackUri": "http://127.0.0.1:9/callbacks",
    "mediaConfig": {"@odata.type": "#microsoft.graph.serviceHostedMediaConfig"},
    "chatInfo": {"threadId": MEETING},
    "meetingInfo": {"@odata.type": "#microsoft.graph.organizerMeetingInfo"},
    "tenantId": "11111111-1111-4111-8111-111111111111",
}


def ask(method, url, token, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def closed(schema):
    """The schema with every object closed: a member that the document does not name is a failure."""
    if isinstance(schema, dict):
        schema = {key: closed(value) for key, value in schema.items()}
        if "properties" in schema or "allOf" in schema:
            schema["unevaluatedProperties"] = False
    elif isinstance(schema, list):
        schema = [closed(value) for value in schema]
    return schema


def validators(document):
    """A validator for each kind of frame."""
    schemas = document["components"]["schemas"]
    # what is flattened into another is closed there
    flat = {part["$ref"] for one in schemas.values() for part in one.get("allOf", []) if "$ref" in part}
    flat |= {None}
    open_names = {ref.rsplit("/", 1)[1] for ref in flat if ref}
    strict = {}
    for name, schema in schemas.items():
        if "allOf" in schema:
            parts = [closed_members(part) for part in schema["allOf"]]
            strict[name] = {**schema, "allOf": parts, "unevaluatedProperties": False}
        elif name in open_names:
            strict[name] = closed_members(schema)
        else:
            strict[name] = closed(schema)
    made = {}
    for name, message in document["components"]["messages"].items():
        whole = {"$ref": message["payload"]["$ref"], "components": {"schemas": strict}}
        jsonschema.Draft202012Validator.check_schema(whole)
        made[name] = jsonschema.Draft202012Validator(whole)
        for example in message["examples"]:
            made[name].validate(example["payload"])
    return made


def closed_members(schema):
    if "properties" not in schema:
        return schema
    return {**schema, "properties": {key: closed(value) for key, value in schema["properties"].items()}}


async def hold(engine, local, token):
    with urllib.request.urlopen(f"{engine}/asyncapi.json") as answer:
        document = json.load(answer)
    made = validators(document)
    address = document["channels"]["roster"]["address"]
    codes = {close["code"] for close in document["channels"]["roster"]["x-close-codes"]}
    calls = f"{engine}/v1.0/communications/calls"
    seen, count = set(), 0

    async def take(socket, until):
        nonlocal count
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), 20))
            made[frame["type"]].validate(frame)
            seen.add(frame["type"])
            count += 1
            if until(frame):
                return frame

    # off the loop, which reads the socket meanwhile
    def do(*request):
        return asyncio.to_thread(ask, *request)

    call = (await do("POST", calls, token, CREATE))["id"]
    url = engine.replace("http", "ws", 1) + address.replace("{call}", call)
    head = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(url, additional_headers=head) as socket:
        await take(socket, lambda frame: frame["type"] == "call" and frame["state"] == "unmuted")
        for action in ("mute", "unmute", "mute"):
            await do("POST", f"{calls}/{call}/{action}", token, {"clientContext": action})
            await take(socket, lambda frame: frame["type"] == "operation" and frame["verdict"])
        human = await do("POST", f"{local}/lab/v1/meetings/{MEETING}/participants?displayName=Ada", token)
        last = await take(socket, lambda frame: frame["type"] == "delta" and any(
            entry["id"] == human["id"] for entry in frame["changed"]))
        resumed = f"{url}?since={last['epoch']}:{last['seq'] - 1}"
        async with websockets.connect(resumed, additional_headers=head) as other:
            assert await take(other, lambda frame: frame["type"] == "delta") == last
        await do("DELETE", f"{local}/lab/v1/meetings/{MEETING}/participants/{human['id']}", token)
        await take(socket, lambda frame: frame["type"] == "delta" and human["id"] in frame["removed"])
        await do("DELETE", f"{calls}/{call}", token)
        try:
            await take(socket, lambda frame: False)
        except websockets.ConnectionClosed as closed_by:
            assert closed_by.rcvd.code in codes, closed_by
    missing = set(made) - seen
    assert not missing, f"no frame of {missing} was seen"
    try:
        await websockets.connect(url.replace(call, "unknown"), additional_headers=head)
        raise AssertionError("a handshake for an unknown call was taken")
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code == 404, refused
    print(f"contract: roster: {count} frames of {len(seen)} kinds, each as documented")
