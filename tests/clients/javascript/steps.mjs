// Microsoft's JavaScript client against one of our servers. Environment: BASE (root with its
// version), AUTHORITY (root of the token endpoint), SERVER (its name, for the lines printed), STEPS,
// (a file of the steps' names), MAX_CALLS (what the server takes at one time), and
// NODE_EXTRA_CA_CERTS for its certificate.
import { Client, GraphError, HTTPMessageHandler, MiddlewareFactory } from "@microsoft/microsoft-graph-client";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

const { BASE, AUTHORITY, SERVER, MAX_CALLS, STEPS } = process.env;
const names = readFileSync(STEPS, "utf8").trim().split("\n");
const TENANT = "11111111-1111-4111-8111-111111111111";
const APP = "22222222-2222-4222-8222-222222222222";

async function fetchToken() {
  const answer = await fetch(`${AUTHORITY}/${TENANT}/oauth2/v2.0/token`, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials",
      client_id: APP,
      client_secret: "local-dev-secret",
      scope: "https://graph.microsoft.com/.default",
    }),
  });
  assert.equal(answer.status, 200);
  return (await answer.json()).access_token;
}

/** Sits where the network is: sees each request that really goes out, and can lose an answer. */
class Wire {
  seen = [];
  lose = undefined;
  setNext(next) {
    this.next = next;
  }
  async execute(context) {
    await this.next.execute(context);
    const seen = {
      status: context.response.status,
      attempt: context.options.headers["Retry-Attempt"],
      id: context.options.headers["client-request-id"],
      body: await context.response.clone().text(),
    };
    this.seen.push(seen);
    if (this.lose?.(seen, context)) {
      this.lose = undefined;
      context.response = new Response("", { status: 504, headers: { "Retry-After": "1" } });
    }
  }
}

/** A client as the SDK builds it, with our look at the wire in front of its last handler. */
function client(token, wire) {
  const chain = MiddlewareFactory.getDefaultMiddlewareChain({ getAccessToken: async () => token });
  if (wire) {
    assert(chain.at(-1) instanceof HTTPMessageHandler);
    chain.splice(-1, 0, wire);
  }
  const base = new URL(BASE);
  return Client.initWithMiddleware({
    baseUrl: `${base.origin}/`,
    defaultVersion: base.pathname.slice(1),
    customHosts: new Set([base.hostname]),
    middleware: chain,
  });
}

const calls = "/communications/calls";
const meeting = () => ({
  "@odata.type": "#microsoft.graph.call",
  callbackUri: "https://bot.example/callbacks",
  requestedModalities: ["audio"],
  mediaConfig: { "@odata.type": "#microsoft.graph.serviceHostedMediaConfig" },
  chatInfo: { threadId: `19:meeting_${randomUUID()}@thread.v2`, messageId: "0" },
  meetingInfo: {
    "@odata.type": "#microsoft.graph.organizerMeetingInfo",
    organizer: { user: { id: "33333333-3333-4333-8333-333333333333" } },
  },
  tenantId: TENANT,
});
const oneToOne = () => ({
  "@odata.type": "#microsoft.graph.call",
  callbackUri: "https://bot.example/callbacks",
  requestedModalities: ["audio"],
  mediaConfig: { "@odata.type": "#microsoft.graph.serviceHostedMediaConfig" },
  targets: [
    {
      "@odata.type": "#microsoft.graph.invitationParticipantInfo",
      identity: { user: { id: "44444444-4444-4444-8444-444444444444" } },
    },
  ],
  tenantId: TENANT,
});

/** The SDK's own error, with our status, code, words and ids. */
async function refused(promise, status, code) {
  const error = await promise.then(
    () => assert.fail("it was not refused"),
    (error) => error,
  );
  assert(error instanceof GraphError, String(error));
  assert.deepEqual([error.statusCode, error.code], [status, code], error.message);
  assert(error.message.length > 10, error.message);
  assert.match(error.requestId, /^[0-9a-f-]{36}$/);
  assert.equal(error.headers.get("request-id"), error.requestId);
  assert(Math.abs(error.date - Date.now()) < 60_000, String(error.date));
  return error;
}

let passed = 0;
let failed = false;
async function step(name, work) {
  assert.equal(name, names[passed], "the steps are those of steps.txt, in their order");
  try {
    await work();
    passed += 1;
    console.log(`ok      javascript  ${SERVER.padEnd(6)}  ${name}`);
  } catch (error) {
    console.log(`FAILED  javascript  ${SERVER.padEnd(6)}  ${name}: ${error.stack}`);
    failed = true;
    throw error;
  }
}

async function until(graph, url, state) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    const call = await graph.api(url).get();
    if (call.state === state) return call;
  }
  assert.fail(`not ${state} in 10 s`);
}

async function run() {
  let token, call, url, me, operation;
  const wire = new Wire();
  let graph;
  await step("get a token", async () => {
    token = await fetchToken();
    graph = client(token, wire);
  });
  await step("create a call", async () => {
    call = await graph.api(calls).post(meeting());
    assert.equal(call["@odata.type"], "#microsoft.graph.call");
    assert.equal(call.state, "establishing");
    url = `${calls}/${call.id}`;
  });
  await step("get the call until it is established", async () => {
    const now = await until(graph, url, "established");
    assert.equal(now.id, call.id);
    me = now.myParticipantId;
  });
  await step("get the call with $select", async () => {
    const some = await graph.api(url).select(["id", "state"]).get();
    assert.deepEqual([some.id, some.state], [call.id, "established"]);
  });
  await step("get the call through /beta", async () => {
    assert.equal((await graph.api(url).version("beta").get()).id, call.id);
  });
  await step("list the participants", async () => {
    const { value } = await graph.api(`${url}/participants`).get();
    assert.equal(value.filter((one) => one.id === me).length, 1);
  });
  await step("get the own participant", async () => {
    const own = await graph.api(`${url}/participants/${me}`).get();
    assert.deepEqual([own.id, own.isMuted, own.info.identity.application.id], [me, false, APP]);
  });
  for (const [action, muted] of [["mute", true], ["unmute", false]]) {
    await step(action, async () => {
      const clientContext = `${action} ${randomUUID()}`;
      operation = await graph.api(`${url}/${action}`).post({ clientContext });
      assert.equal(operation["@odata.type"], `#microsoft.graph.${action}ParticipantOperation`);
      assert.deepEqual([operation.status, operation.clientContext], ["completed", clientContext]);
    });
    await step(`the own participant is ${action}d`, async () => {
      assert.equal((await graph.api(`${url}/participants/${me}`).get()).isMuted, muted);
    });
  }
  await step("read the operation", async () => {
    const read = await graph.api(`${url}/operations/${operation.id}`).get();
    assert.deepEqual([read.id, read.status, read.clientContext], [operation.id, "completed", operation.clientContext]);
  });
  await step("mute without a clientContext", async () => {
    assert.equal((await graph.api(`${url}/mute`).post({})).status, "completed");
  });
  await step("unmute with 256 characters of clientContext", async () => {
    const clientContext = "x".repeat(256);
    const done = await graph.api(`${url}/unmute`).post({ clientContext });
    assert.deepEqual([done.status, done.clientContext], ["completed", clientContext]);
  });
  await step("keep the call alive", async () => {
    await graph.api(`${url}/keepAlive`).post();
    assert.equal(wire.seen.at(-1).status, 200);
  });
  await step("invite somebody and read the operation until it is completed", async () => {
    const clientContext = `invite ${randomUUID()}`;
    const invite = { participants: oneToOne().targets, clientContext };
    let invited = await graph.api(`${url}/participants/invite`).post(invite);
    const { id } = invited;
    for (const end = Date.now() + 10_000; invited.status !== "completed" && Date.now() < end; ) {
      assert.equal(invited.id, id);
      invited = await graph.api(`${url}/operations/${id}`).get();
    }
    assert.equal(invited["@odata.type"], "#microsoft.graph.inviteParticipantsOperation");
    assert.deepEqual([invited.status, invited.clientContext], ["completed", clientContext]);
  });
  await step("list all calls, which nobody may: 405", async () => {
    await refused(graph.api(calls).get(), 405, "notAllowed");
  });
  await step("unknown call: 404, 8522", async () => {
    const unknown = `${calls}/${randomUUID()}`;
    await refused(graph.api(unknown).get(), 404, "8522");
    await refused(graph.api(`${unknown}/unmute`).post({}), 404, "8522");
  });
  await step("unknown participant: 404, 8522", async () => {
    await refused(graph.api(`${url}/participants/${randomUUID()}`).get(), 404, "8522");
  });
  await step("unknown operation: 404, 8522", async () => {
    await refused(graph.api(`${url}/operations/${randomUUID()}`).get(), 404, "8522");
  });
  await step("257 characters of clientContext: 400, 8523", async () => {
    await refused(graph.api(`${url}/unmute`).post({ clientContext: "x".repeat(257) }), 400, "8523");
  });
  await step("a token that is none: 401", async () => {
    await refused(client("no.token.atall").api(url).get(), 401, "InvalidAuthenticationToken");
  });
  await step("a token with another signature: 401", async () => {
    const [head, claims, signature] = token.split(".");
    const other = signature.replace(/^./, (first) => (first === "A" ? "B" : "A"));
    await refused(client([head, claims, other].join(".")).api(url).get(), 401, "InvalidAuthenticationToken");
  });
  await step("mute on a 1:1 call: 400, 8548", async () => {
    const direct = await graph.api(calls).post(oneToOne());
    await until(graph, `${calls}/${direct.id}`, "established");
    await refused(graph.api(`${calls}/${direct.id}/mute`).post({}), 400, "8548");
    await graph.api(`${calls}/${direct.id}`).delete();
  });
  await step("a full service: the SDK comes again and is let in", async () => {
    const others = [];
    while (others.length + 1 < Number(MAX_CALLS)) others.push(await graph.api(calls).post(meeting()));
    const from = wire.seen.length;
    const waiting = graph.api(calls).post(meeting());
    while (wire.seen.length === from) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual([wire.seen[from].status, JSON.parse(wire.seen[from].body).error.code], [429, "8530"]);
    await graph.api(`${calls}/${others[0].id}`).delete();
    others[0] = await waiting;
    assert.deepEqual([wire.seen.at(-1).status, wire.seen.at(-1).attempt], [201, "1"]);
    assert.equal(others[0].state, "establishing");
    for (const other of others) await graph.api(`${calls}/${other.id}`).delete();
  });
  await step("an unmute that comes twice", async () => {
    await graph.api(`${url}/mute`).post({});
    const from = wire.seen.length;
    wire.lose = (seen) => seen.status === 200;
    const done = await graph.api(`${url}/unmute`).post({ clientContext: "once" });
    const [lost, repeated] = wire.seen.slice(from);
    assert.deepEqual([lost.attempt, repeated.attempt, repeated.id], [undefined, "1", lost.id]);
    assert.deepEqual([done.status, done.clientContext], ["completed", "once"]);
    // The engine promises the first answer to a repeated request; Graph and its twin do not.
    if (SERVER === "engine") assert.equal(done.id, JSON.parse(lost.body).id);
    assert.equal((await graph.api(`${url}/participants/${me}`).get()).isMuted, false);
  });
  await step("hang up", async () => {
    await graph.api(url).delete();
    assert.equal(wire.seen.at(-1).status, 204);
  });
  await step("a call that is over: 404, 8522", async () => {
    let error;
    for (const end = Date.now() + 10_000; !error && Date.now() < end; ) {
      error = await graph.api(url).get().then(() => undefined, (error) => error);
    }
    await refused(Promise.reject(error), 404, "8522");
    await refused(graph.api(`${url}/unmute`).post({}), 404, "8522");
    await refused(graph.api(url).delete(), 404, "8522");
  });
}

await run().catch((error) => failed || console.log(error.stack));
console.log(`${passed} of ${names.length} steps passed: javascript, ${SERVER}`);
process.exitCode = passed === names.length ? 0 : 1;
