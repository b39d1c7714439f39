"""Runs `openmic serve`, holds its frames to AsyncAPI and its answers to OpenAPI. See `run`."""

import asyncio
import json
import os
import pathlib
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import frames

HERE = pathlib.Path(__file__).parent
TENANT = "11111111-1111-4111-8111-111111111111"
APP = "22222222-2222-4222-8222-222222222222"


class Server:
    """The program on free ports, deadlines short, so that nothing waits for long."""

    def __init__(self, program):
        self.journal = tempfile.TemporaryDirectory()
        settings = {
            "journal.folder": self.journal.name,
            "listen.public": "127.0.0.1:0",
            "listen.admin": "127.0.0.1:0",
            "local.bind": "127.0.0.1:0",
            "local.rtp_ports": "any",
            "calls.command_deadline": "1s",
        }
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [program, "serve", "--log-format", "json", "--log-level", "info", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        lines = queue.Queue()
        threading.Thread(target=self.read, args=(lines,), daemon=True).start()
        self.engine = self.local = None
        until = time.monotonic() + 60
        while not (self.engine and self.local):
            line = lines.get(timeout=max(0.1, until - time.monotonic()))
            if line is None:
                raise SystemExit("the server ended before it was up:\n" + self.words())
            self.take(line)

    def read(self, lines):
        for line in self.process.stderr:
            self.log.write(line)
            lines.put(line)
        lines.put(None)

    def take(self, line):
        try:
            fields = json.loads(line)
        except ValueError:
            return
        fields = fields.get("fields", fields)
        if fields.get("message") == "listening":
            self.engine, self.local = fields["public"], fields["local"]

    def words(self):
        self.log.flush()
        self.log.seek(0)
        return "".join(self.log.readlines()[-60:])

    def token(self):
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": APP, "client_secret": "local-dev-secret",
            "scope": "https://graph.microsoft.com/.default",
        }).encode()
        with urllib.request.urlopen(f"{self.local}/{TENANT}/oauth2/v2.0/token", form) as answer:
            return json.load(answer)["access_token"]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def real(name, base, local, token):
    """Ids of a call, its participant, an operation of it and its meeting."""
    calls, meeting = f"{base}/v1.0/communications/calls", f"19:meeting_{name}@thread.v2"
    call = frames.ask("POST", calls, token, {**frames.CREATE, "chatInfo": {"threadId": meeting}})["id"]
    human = frames.ask("POST", f"{local}/lab/v1/meetings/{meeting}/participants?displayName=Ada", token)
    until = time.monotonic() + 20
    while frames.ask("GET", f"{calls}/{call}", token)["state"] != "established":
        if time.monotonic() > until:
            raise SystemExit(f"{name}: a call is not established within 20 s")
        time.sleep(0.05)
    operation = frames.ask("POST", f"{calls}/{call}/mute", token, {})["id"]
    return {"call": call, "participant": human["id"], "operation": operation, "thread": meeting, "tenant": TENANT}


def held(name, base, token, seconds, seed, ids):
    """One run of schemathesis; whether all held."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        command = [
            str(pathlib.Path(sys.executable).parent / "schemathesis"),
            "--config-file", str(HERE / "schemathesis.toml"),
            "run", f"{base}/openapi.json", "--header", f"Authorization:Bearer {token}",
            "--seed", str(seed), "--max-time", str(seconds), "--generation-database", "none",
            "--report-json-path", str(report), "--no-color", "--request-timeout", "20",
        ]
        ran = subprocess.run(
            command, cwd=scratch,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "CONTRACT_IDS": json.dumps(ids)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds * 3 + 120,
        )
        told = json.loads(report.read_text()) if report.exists() else {}
    good = ran.returncode == 0
    if not good:
        print(ran.stdout)
    print(f"contract: {name}: {figures(told)}, seed {seed}", flush=True)
    return good


def figures(told):
    cases = told.get("test_cases", {})
    operations = told.get("operations", {}).get("tested", 0)
    return (
        f"{cases.get('generated', 0)} cases of {operations} operations, {cases.get('unique_failures', '?')} failures "
        f"(server errors, undocumented answers, bad data taken), {len(told.get('errors', []))} errors"
    )


def main():
    program, seconds = sys.argv[1], int(sys.argv[2])
    names = sys.argv[3:] or ["local", "engine"]
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"contract: seed {seed}")
    server = Server(program)
    good = True
    try:
        token = server.token()
        asyncio.run(frames.hold(server.engine, server.local, token))
        for name in names:
            base = getattr(server, name)
            good &= held(name, base, token, seconds, seed, real(name, base, server.local, token))
            if server.process.poll() is not None:
                raise SystemExit(f"the server ended:\n{server.words()}")
        faults = [line for line in server.words().splitlines() if "panicked" in line]
        if faults:
            good = False
            print("\n".join(faults))
    finally:
        server.stop()
    sys.exit(not good)


if __name__ == "__main__":
    main()
