"""Microsoft's Python SDK against one of our servers.

Environment: BASE (root with its version), AUTHORITY (root of the token endpoint), SERVER (its name,
for the lines printed), MAX_CALLS (what the server takes at one time), STEPS (a file of the steps'
names); SSL_CERT_FILE and REQUESTS_CA_BUNDLE for its certificate.
"""

import asyncio
import os
import time
import traceback
import uuid
from datetime import datetime, timezone
from pathlib import Path

import azure.identity
import httpx
from azure.identity.aio import ClientSecretCredential
from kiota_abstractions.authentication import (
    AccessTokenProvider,
    AllowedHostsValidator,
    BaseBearerTokenAuthenticationProvider,
)
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from kiota_abstractions.base_request_configuration import RequestConfiguration
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.communications.calls.item.call_item_request_builder import CallItemRequestBuilder
from msgraph.generated.communications.calls.item.mute.mute_post_request_body import MutePostRequestBody
from msgraph.generated.communications.calls.item.participants.invite.invite_post_request_body import (
    InvitePostRequestBody,
)
from msgraph.generated.communications.calls.item.unmute.unmute_post_request_body import UnmutePostRequestBody
from msgraph.generated.models.call import Call
from msgraph.generated.models.call_state import CallState
from msgraph.generated.models.chat_info import ChatInfo
from msgraph.generated.models.identity import Identity
from msgraph.generated.models.identity_set import IdentitySet
from msgraph.generated.models.invitation_participant_info import InvitationParticipantInfo
from msgraph.generated.models.invite_participants_operation import InviteParticipantsOperation
from msgraph.generated.models.modality import Modality
from msgraph.generated.models.mute_participant_operation import MuteParticipantOperation
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.operation_status import OperationStatus
from msgraph.generated.models.organizer_meeting_info import OrganizerMeetingInfo
from msgraph.generated.models.service_hosted_media_config import ServiceHostedMediaConfig
from msgraph.generated.models.unmute_participant_operation import UnmuteParticipantOperation
from msgraph_core import GraphClientFactory

BASE, AUTHORITY, SERVER = (os.environ[name] for name in ("BASE", "AUTHORITY", "SERVER"))
MAX_CALLS = int(os.environ["MAX_CALLS"])
NAMES = Path(os.environ["STEPS"]).read_text().strip().split("\n")
TENANT = "11111111-1111-4111-8111-111111111111"
APP = "22222222-2222-4222-8222-222222222222"
SCOPE = "https://graph.microsoft.com/.default"


class Wire(httpx.AsyncHTTPTransport):
    """Sees each request that really goes out, and can lose an answer."""

    def __init__(self):
        super().__init__(verify=httpx.create_ssl_context(), http2=True)
        self.seen = []
        self.lose = False

    async def handle_async_request(self, request):
        answer = await super().handle_async_request(request)
        body = await answer.aread()
        self.seen.append((answer, request.headers.get("retry-attempt"), body))
        if self.lose and answer.status_code == 200:
            self.lose = False
            return httpx.Response(504, headers={"retry-after": "1"})
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)


class Given(AccessTokenProvider):
    """A token from elsewhere."""

    def __init__(self, token):
        self.token = token

    async def get_authorization_token(self, uri, additional_authentication_context={}):
        return self.token

    def get_allowed_hosts_validator(self):
        return AllowedHostsValidator([])


def client(authentication, base=BASE, wire=None):
    http = httpx.AsyncClient(transport=wire or Wire(), timeout=30)
    adapter = GraphRequestAdapter(authentication, GraphClientFactory.create_with_default_middleware(client=http))
    adapter.base_url = base
    return GraphServiceClient(request_adapter=adapter)


def new_call(**where):
    return Call(
        odata_type="#microsoft.graph.call",
        callback_uri="https://bot.example/callbacks",
        requested_modalities=[Modality.Audio],
        media_config=ServiceHostedMediaConfig(odata_type="#microsoft.graph.serviceHostedMediaConfig"),
        tenant_id=TENANT,
        **where,
    )


def meeting():
    organizer = IdentitySet(user=Identity(id="33333333-3333-4333-8333-333333333333"))
    return new_call(
        chat_info=ChatInfo(thread_id=f"19:meeting_{uuid.uuid4()}@thread.v2", message_id="0"),
        meeting_info=OrganizerMeetingInfo(odata_type="#microsoft.graph.organizerMeetingInfo", organizer=organizer),
    )


def one_to_one():
    user = IdentitySet(user=Identity(id="44444444-4444-4444-8444-444444444444"))
    return new_call(targets=[InvitationParticipantInfo(identity=user)])


async def refused(request, status, code):
    """The SDK's own error, with our status, code, words and ids."""
    try:
        await request
    except ODataError as error:
        said = error.error
        assert (error.response_status_code, said.code) == (status, code), error
        assert len(said.message) > 10, error
        uuid.UUID(said.inner_error.request_id)
        assert error.response_headers["request-id"] == said.inner_error.request_id, error
        assert abs((said.inner_error.date.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds()) < 60
    else:
        raise AssertionError("it was not refused")


passed = 0


def told(error):
    """Where it happened in this file, and what."""
    here = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
    return f"line {here[-1]}: {type(error).__name__}: {error}"


class step:
    """Prints one line for what stands in its block."""

    def __init__(self, name):
        assert name == NAMES[passed], f"the steps are those of steps.txt, in their order: {name}"
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        global passed
        if error is None:
            passed += 1
            print(f"ok      python      {SERVER:6}  {self.name}")
        else:
            print(f"FAILED  python      {SERVER:6}  {self.name}: {told(error)}")
            raise SystemExit(f"{passed} of {len(NAMES)} steps passed: python, {SERVER}")


async def until(call, state):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        now = await call.get()
        if now.state == state:
            return now
    raise AssertionError(f"not {state} in 10 s")


async def run():
    credential = ClientSecretCredential(
        TENANT, APP, "local-dev-secret", authority=AUTHORITY, disable_instance_discovery=True
    )
    authentication = AzureIdentityAuthenticationProvider(credential, scopes=[SCOPE])
    wire = Wire()
    with step("get a token"):
        token = (await credential.get_token(SCOPE)).token
        # Its blocking twin asks through MSAL, which reads the authority's OpenID configuration first.
        blocking = azure.identity.ClientSecretCredential(
            TENANT, APP, "local-dev-secret", authority=AUTHORITY, disable_instance_discovery=True
        )
        other = (await asyncio.to_thread(blocking.get_token, SCOPE)).token
        assert [one.count(".") for one in (token, other)] == [2, 2]
    graph = client(authentication, wire=wire)
    calls = graph.communications.calls
    with step("create a call"):
        created = await calls.post(meeting())
        assert isinstance(created, Call) and created.state == CallState.Establishing
        call = calls.by_call_id(created.id)
    with step("get the call until it is established"):
        now = await until(call, CallState.Established)
        assert now.id == created.id
        me = call.participants.by_participant_id(now.my_participant_id)
    with step("get the call with $select"):
        query = CallItemRequestBuilder.CallItemRequestBuilderGetQueryParameters(select=["id", "state"])
        some = await call.get(RequestConfiguration(query_parameters=query))
        assert (some.id, some.state) == (created.id, CallState.Established)
    with step("get the call through /beta"):
        beta = client(authentication, base=BASE.replace("/v1.0", "/beta"))
        assert (await beta.communications.calls.by_call_id(created.id).get()).id == created.id
    with step("list the participants"):
        listed = (await call.participants.get()).value
        assert [one.id for one in listed].count(now.my_participant_id) == 1
    with step("get the own participant"):
        own = await me.get()
        assert (own.id, own.is_muted, own.info.identity.application.id) == (now.my_participant_id, False, APP)
    acts = {
        "mute": (call.mute, MutePostRequestBody, MuteParticipantOperation),
        "unmute": (call.unmute, UnmutePostRequestBody, UnmuteParticipantOperation),
    }
    for name, (action, body, kind) in acts.items():
        with step(name):
            context = f"{name} {uuid.uuid4()}"
            operation = await action.post(body(client_context=context))
            assert isinstance(operation, kind)
            assert (operation.status, operation.client_context) == (OperationStatus.Completed, context)
        with step(f"the own participant is {name}d"):
            assert (await me.get()).is_muted == (name == "mute")
    with step("read the operation"):
        read = await call.operations.by_comms_operation_id(operation.id).get()
        assert isinstance(read, UnmuteParticipantOperation)
        assert (read.id, read.status) == (operation.id, OperationStatus.Completed)
        assert read.client_context == operation.client_context
    with step("mute without a clientContext"):
        assert (await call.mute.post(MutePostRequestBody())).status == OperationStatus.Completed
    with step("unmute with 256 characters of clientContext"):
        done = await call.unmute.post(UnmutePostRequestBody(client_context="x" * 256))
        assert (done.status, done.client_context) == (OperationStatus.Completed, "x" * 256)
    with step("keep the call alive"):
        await call.keep_alive.post()
        assert wire.seen[-1][0].status_code == 200
    with step("invite somebody and read the operation until it is completed"):
        context = f"invite {uuid.uuid4()}"
        invite = InvitePostRequestBody(participants=one_to_one().targets, client_context=context)
        invited = await call.participants.invite.post(invite)
        end = time.monotonic() + 10
        while invited.status != OperationStatus.Completed and time.monotonic() < end:
            invited = await call.operations.by_comms_operation_id(invited.id).get()
        assert isinstance(invited, InviteParticipantsOperation)
        assert (invited.status, invited.client_context) == (OperationStatus.Completed, context)
    with step("list all calls, which nobody may: 405"):
        await refused(calls.get(), 405, "notAllowed")
    with step("unknown call: 404, 8522"):
        unknown = calls.by_call_id(str(uuid.uuid4()))
        await refused(unknown.get(), 404, "8522")
        await refused(unknown.unmute.post(UnmutePostRequestBody()), 404, "8522")
    with step("unknown participant: 404, 8522"):
        await refused(call.participants.by_participant_id(str(uuid.uuid4())).get(), 404, "8522")
    with step("unknown operation: 404, 8522"):
        await refused(call.operations.by_comms_operation_id(str(uuid.uuid4())).get(), 404, "8522")
    with step("257 characters of clientContext: 400, 8523"):
        await refused(call.unmute.post(UnmutePostRequestBody(client_context="x" * 257)), 400, "8523")
    with step("a token that is none: 401"):
        stranger = client(BaseBearerTokenAuthenticationProvider(Given("no.token.atall")))
        await refused(stranger.communications.calls.by_call_id(created.id).get(), 401, "InvalidAuthenticationToken")
    with step("a token with another signature: 401"):
        head, claims, signature = token.split(".")
        other = ("B" if signature[0] == "A" else "A") + signature[1:]
        stranger = client(BaseBearerTokenAuthenticationProvider(Given(f"{head}.{claims}.{other}")))
        await refused(stranger.communications.calls.by_call_id(created.id).get(), 401, "InvalidAuthenticationToken")
    with step("mute on a 1:1 call: 400, 8548"):
        direct = calls.by_call_id((await calls.post(one_to_one())).id)
        await until(direct, CallState.Established)
        await refused(direct.mute.post(MutePostRequestBody()), 400, "8548")
        await direct.delete()
    with step("a full service: the SDK comes again and is let in"):
        others = [(await calls.post(meeting())).id for _ in range(MAX_CALLS - 1)]
        before = len(wire.seen)
        waiting = asyncio.create_task(calls.post(meeting()))
        while len(wire.seen) == before:
            await asyncio.sleep(0.02)
        first = wire.seen[before][0]
        assert (first.status_code, first.json()["error"]["code"]) == (429, "8530")
        await calls.by_call_id(others[0]).delete()
        others[0] = (await waiting).id
        assert (wire.seen[-1][0].status_code, wire.seen[-1][1]) == (201, "1")
        for other in others:
            await calls.by_call_id(other).delete()
    with step("an unmute that comes twice"):
        await call.mute.post(MutePostRequestBody())
        before = len(wire.seen)
        wire.lose = True
        context = RequestConfiguration()
        # Off Graph's own hosts this SDK sends no id by itself, and by it the engine knows a repeat.
        context.headers.add("client-request-id", str(uuid.uuid4()))
        done = await call.unmute.post(UnmutePostRequestBody(client_context="once"), context)
        lost, repeated = wire.seen[before:]
        assert (lost[1], repeated[1]) == (None, "1")
        assert (done.status, done.client_context) == (OperationStatus.Completed, "once")
        # The engine promises the first answer to a repeated request; Graph and its twin do not.
        if SERVER == "engine":
            assert done.id == lost[0].json()["id"], (done.id, lost[2])
        assert (await me.get()).is_muted is False
    with step("hang up"):
        await call.delete()
        assert wire.seen[-1][0].status_code == 204
    with step("a call that is over: 404, 8522"):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                await call.get()
            except ODataError:
                break
        await refused(call.get(), 404, "8522")
        await refused(call.unmute.post(UnmutePostRequestBody()), 404, "8522")
        await refused(call.delete(), 404, "8522")
    await credential.close()


asyncio.run(run())
assert passed == len(NAMES), f"{NAMES[passed]} was left out"
print(f"{passed} of {len(NAMES)} steps passed: python, {SERVER}")
