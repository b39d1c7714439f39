"""A bot with Microsoft's Python SDK: it joins a meeting, unmutes, sees that it is heard, and leaves.

Against openmic's engine as it stands. GRAPH_BASE_URL moves it to the local calling service alone
(https://127.0.0.1:7081/v1.0) or to Microsoft Graph (https://graph.microsoft.com/v1.0); README.md lists
the rest of its environment.
"""

import asyncio
import os
from urllib.parse import urlsplit

import jwt
from aiohttp import ClientSession, web
from azure.identity.aio import ClientSecretCredential
from kiota_authentication_azure.azure_identity_authentication_provider import AzureIdentityAuthenticationProvider
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.communications.calls.item.mute.mute_post_request_body import MutePostRequestBody
from msgraph.generated.communications.calls.item.unmute.unmute_post_request_body import UnmutePostRequestBody
from msgraph.generated.models.call import Call
from msgraph.generated.models.chat_info import ChatInfo
from msgraph.generated.models.identity import Identity
from msgraph.generated.models.identity_set import IdentitySet
from msgraph.generated.models.modality import Modality
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.organizer_meeting_info import OrganizerMeetingInfo
from msgraph.generated.models.service_hosted_media_config import ServiceHostedMediaConfig

BASE = os.environ.get("GRAPH_BASE_URL", "https://127.0.0.1:7080/v1.0")
ON_GRAPH = urlsplit(BASE).hostname == "graph.microsoft.com"
AUTHORITY = os.environ.get(
    "AUTHORITY", "https://login.microsoftonline.com" if ON_GRAPH else "https://127.0.0.1:7081"
)
# Where the keys are described that notifications are signed with.
NOTIFIER = os.environ.get("NOTIFIER", "https://api.aps.skype.com" if ON_GRAPH else AUTHORITY)
NOTIFICATION_ISSUERS = ["https://api.botframework.com", "https://graph.microsoft.com"]
TENANT = os.environ.get("TENANT_ID", "11111111-1111-4111-8111-111111111111")
APP = os.environ.get("CLIENT_ID", "22222222-2222-4222-8222-222222222222")
SECRET = os.environ.get("CLIENT_SECRET", "local-dev-secret")
THREAD = os.environ.get("MEETING_THREAD", "19:meeting_python@thread.v2")
ORGANIZER = os.environ.get("MEETING_ORGANIZER", "33333333-3333-4333-8333-333333333333")
PORT = int(os.environ.get("BOT_PORT", "0"))
PATIENCE = 30


def name(participant):
    """A participant is a user, an application, a guest, a phone: whichever is there."""
    for identity in participant["info"]["identity"].values():
        if isinstance(identity, dict) and identity.get("displayName"):
            return identity["displayName"]
    return participant["id"]


class Webhook:
    """Takes the notifications of the bot's call and keeps what they say."""

    def __init__(self, keys):
        self.keys = keys
        self.changed = asyncio.Condition()
        self.state = None
        self.muted = {}

    async def receive(self, request):
        """Who may not sign is turned away; a good notification is accepted before it is handled."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            # On a thread, for PyJWT blocks when it fetches keys again.
            key = await asyncio.to_thread(self.keys.get_signing_key_from_jwt, token)
            jwt.decode(token, key, ["RS256"], audience=APP, issuer=NOTIFICATION_ISSUERS, leeway=300,
                       options={"require": ["exp", "iss", "aud", "tid"]})
        except jwt.PyJWTError as error:
            print(f"a notification was refused: {error}")
            return web.Response(status=403)
        for entry in (await request.json())["value"]:
            await self.handle(entry)
        return web.Response(status=202)

    async def handle(self, entry):
        data = entry["resourceData"]
        async with self.changed:
            if entry["resourceUrl"].endswith("/participants"):
                for one in data:
                    self.muted[one["id"]] = one["isMuted"]
                    print(f"roster: {name(one)} is {'muted' if one['isMuted'] else 'unmuted'}")
            elif isinstance(data, dict) and data.get("state"):
                self.state = data["state"]
                print(f"call: {self.state}")
            self.changed.notify_all()

    async def until(self, what):
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(what)


async def listen():
    """Starts the webhook; returns it, its server, and the address to give to Graph."""
    async with ClientSession() as session:
        async with session.get(f"{NOTIFIER}/v1/.well-known/OpenIdConfiguration") as answer:
            configuration = await answer.json()
    keys = jwt.PyJWKClient(configuration["jwks_uri"])
    # Now, so that the first notification need not wait for them.
    await asyncio.to_thread(keys.get_jwk_set)
    webhook = Webhook(keys)
    application = web.Application()
    application.router.add_post("/callbacks", webhook.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", PORT).start()
    port = runner.addresses[0][1]
    return webhook, runner, os.environ.get("CALLBACK_URL", f"http://127.0.0.1:{port}/callbacks")


def connect(credential):
    """The SDK's client, at BASE."""
    scopes = ["https://graph.microsoft.com/.default"]
    adapter = GraphRequestAdapter(AzureIdentityAuthenticationProvider(credential, scopes=scopes))
    adapter.base_url = BASE
    return GraphServiceClient(request_adapter=adapter)


def join(callback):
    """What to ask for: a place in the meeting, with audio that the service hosts."""
    organizer = IdentitySet(user=Identity(id=ORGANIZER, additional_data={"tenantId": TENANT}))
    return Call(
        odata_type="#microsoft.graph.call",
        callback_uri=callback,
        requested_modalities=[Modality.Audio],
        media_config=ServiceHostedMediaConfig(odata_type="#microsoft.graph.serviceHostedMediaConfig"),
        chat_info=ChatInfo(thread_id=THREAD, message_id="0"),
        meeting_info=OrganizerMeetingInfo(
            odata_type="#microsoft.graph.organizerMeetingInfo", organizer=organizer
        ),
        tenant_id=TENANT,
    )


async def speak(graph, webhook, callback):
    created = await graph.communications.calls.post(join(callback))
    print(f"call: created, {created.id}")
    call = graph.communications.calls.by_call_id(created.id)
    try:
        await webhook.until(lambda: webhook.state == "established")
        me = (await call.get()).my_participant_id
        muted = await call.mute.post(MutePostRequestBody(client_context="quiet, please"))
        print(f"mute: {muted.status.value.lower()}")
        await webhook.until(lambda: webhook.muted.get(me) is True)
        unmuted = await call.unmute.post(UnmutePostRequestBody(client_context="now I speak"))
        print(f"unmute: {unmuted.status.value.lower()}")
        # The engine answers once the roster agrees too. On Graph only this notification proves it.
        await webhook.until(lambda: webhook.muted.get(me) is False)
        print("everybody hears us")
    finally:
        await call.delete()
    await webhook.until(lambda: webhook.state == "terminated")


async def main():
    webhook, server, callback = await listen()
    # Other authorities than Microsoft's cannot be looked up at Microsoft.
    credential = ClientSecretCredential(
        TENANT, APP, SECRET, authority=AUTHORITY, disable_instance_discovery=not ON_GRAPH
    )
    async with credential:
        try:
            await speak(connect(credential), webhook, callback)
        except TimeoutError:
            raise SystemExit("a notification did not come in time")
        except ODataError as error:
            raise SystemExit(f"refused: {error.response_status_code} {error.error.code} {error.error.message}")
        finally:
            await server.cleanup()


asyncio.run(main())
