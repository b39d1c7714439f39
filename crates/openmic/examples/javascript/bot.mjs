// A bot with Microsoft's JavaScript client: it joins a meeting, unmutes, sees that it is heard, and
// leaves.
//
// Against openmic's engine as it stands. GRAPH_BASE_URL moves it to the local calling service alone
// (https://127.0.0.1:7081/v1.0) or to Microsoft Graph (https://graph.microsoft.com/v1.0); README.md
// lists the rest of its environment.
import { Client, GraphError } from "@microsoft/microsoft-graph-client";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { once } from "node:events";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";

const {
  GRAPH_BASE_URL = "https://127.0.0.1:7080/v1.0",
  TENANT_ID = "11111111-1111-4111-8111-111111111111",
  CLIENT_ID = "22222222-2222-4222-8222-222222222222",
  CLIENT_SECRET = "local-dev-secret",
  MEETING_THREAD = "19:meeting_javascript@thread.v2",
  MEETING_ORGANIZER = "33333333-3333-4333-8333-333333333333",
  BOT_PORT = "0",
  CALLBACK_URL,
} = process.env;
const base = new URL(GRAPH_BASE_URL);
const onGraph = base.hostname === "graph.microsoft.com";
const {
  AUTHORITY = onGraph ? "https://login.microsoftonline.com" : "https://127.0.0.1:7081",
  // Where the keys are described that notifications are signed with.
  NOTIFIER = onGraph ? "https://api.aps.skype.com" : AUTHORITY,
} = process.env;
const PATIENCE = 30_000;

/** Takes the notifications of the bot's call and keeps what they say. */
class Webhook {
  state = undefined;
  muted = new Map();
  #waiting = new Set();

  static async start() {
    const webhook = new Webhook();
    const configuration = await fetch(`${NOTIFIER}/v1/.well-known/OpenIdConfiguration`);
    webhook.keys = createRemoteJWKSet(new URL((await configuration.json()).jwks_uri));
    webhook.server = createServer((request, response) => webhook.#receive(request, response));
    webhook.server.listen(Number(BOT_PORT), "127.0.0.1");
    await once(webhook.server, "listening");
    webhook.url = CALLBACK_URL ?? `http://127.0.0.1:${webhook.server.address().port}/callbacks`;
    return webhook;
  }

  /** Who may not sign is turned away; a good notification is accepted before it is handled. */
  async #receive(request, response) {
    try {
      const token = request.headers.authorization?.replace(/^Bearer /, "") ?? "";
      await jwtVerify(token, this.keys, {
        algorithms: ["RS256"],
        audience: CLIENT_ID,
        issuer: ["https://api.botframework.com", "https://graph.microsoft.com"],
        requiredClaims: ["exp", "tid"],
        clockTolerance: 300,
      });
    } catch (error) {
      console.log(`a notification was refused: ${error.message}`);
      response.writeHead(403).end();
      return;
    }
    const { value } = await json(request);
    response.writeHead(202).end();
    for (const entry of value) this.#handle(entry);
    for (const look of this.#waiting) look();
  }

  #handle({ resourceUrl, resourceData }) {
    if (resourceUrl.endsWith("/participants")) {
      for (const { id, isMuted, info } of resourceData) {
        // A user, an application, a guest, a phone: whichever is there.
        const named = Object.values(info.identity).find((identity) => identity?.displayName);
        this.muted.set(id, isMuted);
        console.log(`roster: ${named?.displayName ?? id} is ${isMuted ? "muted" : "unmuted"}`);
      }
    } else if (resourceData.state) {
      this.state = resourceData.state;
      console.log(`call: ${this.state}`);
    }
  }

  /** Waits until the notifications have said so. */
  async until(name, what) {
    let look, timer;
    const seen = new Promise((resolve, reject) => {
      look = () => what() && resolve();
      timer = setTimeout(() => reject(new Error(`${name}: no notification in time`)), PATIENCE);
    });
    this.#waiting.add(look);
    look();
    await seen.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(look);
    });
  }
}

/** Client credentials by hand; a bot with more than one credential takes `@azure/identity`. */
class Credential {
  #token = undefined;
  #until = 0;

  async getAccessToken() {
    if (Date.now() > this.#until) {
      const answer = await fetch(`${AUTHORITY}/${TENANT_ID}/oauth2/v2.0/token`, {
        method: "POST",
        body: new URLSearchParams({
          grant_type: "client_credentials",
          client_id: CLIENT_ID,
          client_secret: CLIENT_SECRET,
          scope: "https://graph.microsoft.com/.default",
        }),
      });
      const body = await answer.json();
      if (!answer.ok) throw new Error(`no token: ${body.error_description}`);
      this.#token = body.access_token;
      this.#until = Date.now() + (body.expires_in - 300) * 1000;
    }
    return this.#token;
  }
}

async function speak(graph, webhook) {
  const created = await graph.api("/communications/calls").post({
    "@odata.type": "#microsoft.graph.call",
    callbackUri: webhook.url,
    requestedModalities: ["audio"],
    mediaConfig: { "@odata.type": "#microsoft.graph.serviceHostedMediaConfig" },
    chatInfo: { "@odata.type": "#microsoft.graph.chatInfo", threadId: MEETING_THREAD, messageId: "0" },
    meetingInfo: {
      "@odata.type": "#microsoft.graph.organizerMeetingInfo",
      organizer: { user: { id: MEETING_ORGANIZER, tenantId: TENANT_ID } },
    },
    tenantId: TENANT_ID,
  });
  console.log(`call: created, ${created.id}`);
  const call = `/communications/calls/${created.id}`;
  try {
    await webhook.until("established", () => webhook.state === "established");
    const me = (await graph.api(call).get()).myParticipantId;
    const muted = await graph.api(`${call}/mute`).post({ clientContext: "quiet, please" });
    console.log(`mute: ${muted.status}`);
    await webhook.until("muted", () => webhook.muted.get(me) === true);
    const unmuted = await graph.api(`${call}/unmute`).post({ clientContext: "now I speak" });
    console.log(`unmute: ${unmuted.status}`);
    // The engine answers once the roster agrees too. On Graph only this notification proves it.
    await webhook.until("unmuted", () => webhook.muted.get(me) === false);
    console.log("everybody hears us");
  } finally {
    await graph.api(call).delete();
  }
  await webhook.until("terminated", () => webhook.state === "terminated");
}

const webhook = await Webhook.start();
try {
  const graph = Client.initWithMiddleware({
    baseUrl: `${base.origin}/`,
    defaultVersion: base.pathname.slice(1),
    // The SDK sends its token to Graph's hosts and to those named here, by https only.
    customHosts: new Set([base.hostname]),
    authProvider: new Credential(),
  });
  await speak(graph, webhook);
} catch (error) {
  if (error instanceof GraphError) console.log(`refused: ${error.statusCode} ${error.code} ${error.message}`);
  else console.log(error.message);
  process.exitCode = 1;
} finally {
  webhook.server.close();
  webhook.server.closeAllConnections();
}
