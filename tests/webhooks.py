#!/usr/bin/env python3
"""Webhooks as a receiver sees them: signatures that strangers' libraries accept, and every answer.

The signatures are verified with the `standardwebhooks` packages for Python and for JavaScript, with
one secret and with two while one is being replaced. Each way to answer has its verdict: done,
superseded, retry with its pause, `Retry-After`, dead, a login page, a redirect, silence, and many
lapses in one request with a result each.
"""

import base64
import json
import os
import subprocess
import threading

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from blackbox import Suite, instant, until

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = "whsec_" + base64.b64encode(b"the secret that goes, 32 bytes..").decode()
NEW = "whsec_" + base64.b64encode(b"the secret that comes, 32 bytes.").decode()
STRANGE = "whsec_" + base64.b64encode(b"a secret that nobody was given..").decode()


class Script:
    """A receiver's answers by key: the n-th request for a key gets the n-th answer, then the last."""

    def __init__(self):
        self.answers, self.calls, self.lock = {}, {}, threading.Lock()
        self.held = threading.Event()

    def __call__(self, call):
        data = call.json["data"]
        key = (data[0] if isinstance(data, list) else data)["key"]
        with self.lock:
            calls = self.calls.setdefault(key, [])
            calls.append(call)
            answers = self.answers.get(key.split("-")[0], [(200, {}, b"{}")])
            answer = answers[min(len(calls), len(answers)) - 1]
        return answer(call) if callable(answer) else answer

    def of(self, key):
        with self.lock:
            return list(self.calls.get(key, []))


def main():
    with Suite("webhooks", floor=200) as suite:
        script = Script()
        receiver = suite.receiver(script)
        server = suite.server()
        try:
            with server.client() as client:
                signatures(suite, client, script, receiver.url)
                answers(suite, client, script, receiver.url)
                batches(suite, client, script, receiver.url)
        finally:
            script.held.set()


def lapse(suite, client, script, queue, key, calls=1, **how):
    """Schedules a deadline that lapses at once and waits for its first requests."""
    reply = client.schedule(queue, key, after="0s", **how)
    suite.equal(reply.status, 201, f"schedule {queue}/{key}")
    until(lambda: len(script.of(key)) >= calls, f"{calls} requests for {queue}/{key}")
    return script.of(key)


def settled_delivery(client, queue, key, state):
    """The delivery, once it is in this state."""

    def there():
        record = client.read(queue, key)
        delivery = record and record.get("delivery")
        return delivery if delivery and delivery["state"] == state else None

    return until(there, f"{queue}/{key} is {state}")


def signatures(suite, client, script, url):
    """One secret, two secrets, and what must not verify."""
    requests = []
    for queue, secrets in {"one": [OLD], "two": [NEW, OLD]}.items():
        client.queue(queue, target={"webhook": {"url": url, "secrets": secrets}})
        payload = {"total": "19.90", "name": "Łukasz ☕", "nested": {"a": [1, None, True]}}
        call = lapse(suite, client, script, queue, f"signed-{queue}", payload=payload)[0]
        body, headers = call.body, call.headers
        suite.equal(call.data["payload"], payload, "the payload arrives as it was given")
        suite.equal(call.json["type"], "deadline.lapsed", "type")
        suite.equal(headers["webhook-id"], call.data["delivery_id"], "webhook-id")
        suite.equal(call.data["attempt"], 1, "attempt")
        suite.check(call.data["late_ms"] >= 0, "late_ms")
        suite.check(
            instant(call.data["lapsed_at"]) >= instant(call.data["due"]), "lapsed before due"
        )
        suite.check(abs(int(headers["webhook-timestamp"]) - call.at / 1000) < 30, "timestamp")
        given = headers["webhook-signature"].split()
        suite.equal(len(given), len(secrets), "one signature for each secret")
        for secret in secrets:
            Webhook(secret).verify(body, headers)
            requests.append((secret, headers, body, True))
        tampered = body.replace(b"19.90", b"10.90")
        for secret, text, head in [
            (secrets[0], tampered, headers),
            (STRANGE, body, headers),
            (secrets[0], body, {**headers, "webhook-id": "another"}),
            (secrets[0], body, {**headers, "webhook-timestamp": "1000000000"}),
        ]:
            try:
                Webhook(secret).verify(text, head)
                suite.check(False, "a forged request was accepted")
            except WebhookVerificationError:
                suite.check(True, "refused")
            requests.append((secret, head, text, False))
    asked = [
        {"secret": secret, "headers": headers, "body": body.decode()}
        for secret, headers, body, _ in requests
    ]
    said = subprocess.run(
        ["node", os.path.join(HERE, "node", "verify.mjs")],
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=True,
    )
    for verdict, (_, _, _, good) in zip(json.loads(said.stdout), requests, strict=True):
        suite.equal(verdict == "ok", good, f"JavaScript says {verdict}")


def answers(suite, client, script, url):
    """Each way to answer one request."""
    policy = {"retry": ["1s"], "retry_for": "10m"}
    target = {"webhook": {"url": url, "secrets": [OLD], "timeout": "1s"}}
    client.queue("answers", target=target, **policy)
    page = {"Content-Type": "text/html; charset=utf-8"}
    done = (200, {}, b"{}")

    def hold(call):
        """Says nothing until the suite ends, or the caller has long given up."""
        script.held.wait(30)
        return done

    script.answers = {
        "retry": [(500, {}, b"no"), (503, {}, b""), done],
        "after": [(503, {"Retry-After": "3"}, b""), done],
        "dead": [(410, {}, b""), done],
        "html": [(200, page, b"<!doctype html><title>Log in</title>"), done],
        "moved": [(302, {"Location": url}, b""), done],
        "superseded": [(200, {}, b'{"verdict":"superseded"}')],
        "silent": [hold, done],
        "empty": [(204, {}, b"")],
    }
    for key, wanted in [("retry", 3), ("after", 2), ("html", 2), ("moved", 2), ("silent", 2)]:
        calls = lapse(suite, client, script, "answers", key, calls=wanted)
        delivery = settled_delivery(client, "answers", key, "done")
        suite.equal({call.headers["webhook-id"] for call in calls}, {delivery["id"]}, f"{key} id")
        suite.equal([call.data["attempt"] for call in calls], list(range(1, wanted + 1)), key)
        suite.equal({call.data["lapsed_at"] for call in calls}, {calls[0].data["lapsed_at"]}, key)
        for call in calls:
            Webhook(OLD).verify(call.body, call.headers)
        pause = calls[1].at - calls[0].at
        least = 3_000 if key == "after" else 900
        suite.check(pause >= least, f"{key}: asked again after {pause} ms, not after {least}")
    seen = {
        "html": "html_answer",
        "retry": "50",
    }
    for key, text in seen.items():
        timeline = json.dumps(client.read("answers", key)["timeline"])
        suite.check(text in timeline, f"{key}: the timeline does not say `{text}`: {timeline}")

    lapse(suite, client, script, "answers", "superseded")
    settled_delivery(client, "answers", "superseded", "superseded")
    suite.equal(len(script.of("superseded")), 1, "superseded is final")
    lapse(suite, client, script, "answers", "empty")
    settled_delivery(client, "answers", "empty", "done")

    calls = lapse(suite, client, script, "answers", "dead")
    dead = settled_delivery(client, "answers", "dead", "dead")
    suite.equal(len(calls), 1, "410 is final")
    late = client.act("answers", "dead", "settle", outcome="paid")
    suite.equal((late.status, late["acted"]), (409, "never"), "a settle after `dead`")
    suite.equal(client.act("answers", "dead", "revive").status, 200, "revive")
    revived = settled_delivery(client, "answers", "dead", "done")
    suite.equal(revived["id"], dead["id"], "the same id after revive")
    late = client.act("answers", "dead", "settle", outcome="paid")
    suite.equal((late.status, late["acted"]), (409, "yes"), "a settle after `done`")


def batches(suite, client, script, url):
    """Many lapses in one request, each with a result of its own."""
    target = {"webhook": {"url": url, "secrets": [OLD], "batch": 50}}
    client.queue("batch", target=target, retry=["1s"], concurrency=1)
    suite.equal(client.ask("POST", "/v1/queues/batch/pause", {}).status, 200, "pause")
    seen, lock = {}, threading.Lock()

    def answer(call):
        """By the number in the key: 0 done, 1 superseded, 2 missing at first, 3 asked to retry."""
        data = call.json["data"]
        results = []
        for lapse in data if isinstance(data, list) else [data]:
            with lock:
                before = seen.setdefault(lapse["key"], [])
                before.append((call, lapse))
                number, first = int(lapse["key"].split("-")[1]) % 4, len(before) == 1
            verdict = ["done", "superseded", None, "retry"][number] if first else "done"
            if verdict:
                results.append({"delivery_id": lapse["delivery_id"], "verdict": verdict})
        return 200, {}, json.dumps({"results": results}).encode()

    script.answers["batch"] = [answer]
    keys = [f"batch-{number}" for number in range(40)]
    for key in keys:
        suite.equal(client.schedule("batch", key, after="0s").status, 201, f"schedule {key}")
    for key in keys:
        settled_delivery(client, "batch", key, "ready")
    suite.equal(client.ask("POST", "/v1/queues/batch/resume", {}).status, 200, "resume")
    for number, key in enumerate(keys):
        state = "superseded" if number % 4 == 1 else "done"
        delivery = settled_delivery(client, "batch", key, state)
        with lock:
            calls = seen[key]
        suite.equal(len(calls), 2 if number % 4 >= 2 else 1, f"requests with {key}")
        suite.equal({lapse["delivery_id"] for _, lapse in calls}, {delivery["id"]}, f"{key} id")
        for call, lapse in calls:
            Webhook(OLD).verify(call.body, call.headers)
            suite.check(call.headers["webhook-id"] != lapse["delivery_id"], f"{key} webhook-id")
    first = {calls[0][0].headers["webhook-id"] for calls in seen.values()}
    suite.check(len(first) < len(keys) / 2, f"{len(keys)} lapses came in {len(first)} requests")


if __name__ == "__main__":
    main()
