#!/usr/bin/env python3
"""`<duly-countdown>` in a real browser whose clock is an hour wrong.

`node/countdown.mjs` drives headless Chromium over a page of a shop on another port; this side plays the shop and
the server: it extends, freezes, settles and lets lapse, kills the server and starts it again, and compares what the page
shows with what the server says at the same moment.
"""

import http.server
import json
import os
import re
import shutil
import subprocess
import threading

from blackbox import Suite, until

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = """<!doctype html><meta charset="utf-8"><title>The shop</title>
<script src="{duly}/w/duly.js" defer></script>
<script>
const heard = [];
for (const state of ["pending", "frozen", "settled", "lapsed", "gone"])
  addEventListener("duly:" + state, (e) => heard.push([e.target.id, state]));
</script>
<p>Pay within <duly-countdown id="one" src="{duly}{one}" settled="paid, thank you">30 minutes</duly-countdown></p>
<p>and <duly-countdown id="other" src="{duly}{other}" lapsed="too late">half a minute</duly-countdown></p>
<p>and <duly-countdown id="void" src="{duly}/w/AAAA" gone="no such order">some time</duly-countdown></p>
"""


class Browser:
    """The script that drives the browser: one line of JSON each way."""

    def __init__(self, chromium, url):
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "node", "countdown.mjs"), chromium, url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def ask(self, **what):
        """Asks for something and waits until the page has it."""
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the browser's script has ended"
        return json.loads(line)

    def look(self):
        """Every element: its text, its state, its role; and what was heard."""
        return self.ask(do="look")

    def wait(self, element, state, text=None):
        """Waits until an element is in a state, and shows this text if one is given."""
        return self.ask(do="wait", id=element, state=state, text=text)["seen"]

    def stop(self):
        """Closes the browser."""
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main():
    with Suite("countdown", floor=23) as suite:
        chromium = next(
            (found for name in ("chromium", "chromium-browser", "google-chrome")
             if (found := shutil.which(name))),
            None,
        )
        if not suite.check(chromium, "there is a browser"):
            return
        server = suite.server()
        with server.client() as client:
            client.queue("orders", target="none")
            client.schedule("orders", "one", after="30m")
            client.schedule("orders", "other", after="40s")
            links = [
                client.ask("POST", "/v1/links", {"queue": "orders", "key": key})["url"]
                for key in ("one", "other")
            ]
        duly = f"http://127.0.0.1:{server.port}"
        page = PAGE.format(duly=duly, one=links[0], other=links[1])
        shop = serve(page.encode())
        browser = Browser(chromium, f"http://127.0.0.1:{shop.server_port}/")
        suite.to_stop.append(browser)
        try:
            watched(suite, server, browser, links)
        finally:
            shop.shutdown()


def serve(page):
    """A page of a shop, on a port of its own: another origin."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    shop = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=shop.serve_forever, daemon=True).start()
    return shop


def seconds(text):
    """What a countdown shows, in seconds."""
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def right(suite, server, browser, link, element, what):
    """The page shows what the server says at the same moment, to within a second."""
    counts = lambda: re.fullmatch("[0-9:]+", browser.look()["elements"][element]["text"])
    until(counts, f"{what}: it counts, in place of what the page said before")
    with server.client() as client:
        before = client.get(link)["remaining_ms"] / 1000
        shown = seconds(browser.look()["elements"][element]["text"])
        after = client.get(link)["remaining_ms"] / 1000
    # It shows the second that has begun.
    suite.check(after - 1 <= shown <= before + 1.999, f"{what}: {after} … {before}, shown {shown}")


def watched(suite, server, browser, links):
    one, other = links
    act = lambda key, verb, **how: with_client(server, lambda c: c.act("orders", key, verb, **how))
    suite.check(browser.ask(do="wrong")["minutes"] > 55, "the page's clock is an hour wrong")
    browser.wait("one", "pending")
    look = browser.look()
    suite.equal(look["elements"]["one"]["role"], "timer", "its role")
    suite.check(look["elements"]["one"]["live"] in (None, "off"), "a running clock is not read out")
    right(suite, server, browser, one, "one", "with a wrong clock")
    right(suite, server, browser, other, "other", "another one")
    suite.equal(browser.wait("void", "gone")["text"], "no such order", "a link that is void")

    act("one", "extend", by="1h")
    suite.check(browser.ask(do="longer", id="one", than=3700)["seen"], "an extension is followed")
    right(suite, server, browser, one, "one", "after an extension")
    act("one", "freeze", **{"for": "10m"})
    browser.wait("one", "frozen")
    right(suite, server, browser, one, "one", "while it is frozen")
    act("one", "freeze", **{"for": "0s"})
    browser.wait("one", "pending")

    port = server.port
    server.kill()
    server.start(port=port)
    act("one", "extend", by="1h")
    suite.check(browser.ask(do="longer", id="one", than=7300)["seen"], "it follows after a restart")
    right(suite, server, browser, one, "one", "after a restart")

    browser.ask(do="offline", offline=True)
    act("one", "extend", by="1h")
    still = browser.look()["elements"]["one"]
    suite.check(still["state"] == "pending" and seconds(still["text"]) > 7000, "it goes on offline")
    browser.ask(do="offline", offline=False)
    suite.check(browser.ask(do="longer", id="one", than=10_800)["seen"], "it follows after being offline")
    right(suite, server, browser, one, "one", "after being offline")

    with server.client() as client:
        until(lambda: client.get(other)["state"] == "lapsed", "the other one lapses")
    suite.equal(browser.wait("other", "lapsed")["text"], "too late", "what a lapsed one shows")
    # Down while it is settled, from the page's point of view: it hears of it afterwards.
    server.kill()
    browser.ask(do="refused", url=f"http://127.0.0.1:{port}{one}")
    server.start(port=port)
    act("one", "settle", outcome="paid")
    seen = browser.wait("one", "settled")
    suite.equal(seen["text"], "paid, thank you", "what a settled one shows")
    suite.equal(seen["live"], "polite", "the end is read out")
    look = browser.look()
    wanted = [["one", "settled"], ["other", "lapsed"], ["void", "gone"]]
    for what in wanted:
        suite.equal(look["heard"].count(what), 1, f"the page heard of {what}")
    suite.check(["one", "frozen"] in look["heard"], "and of the freeze")
    suite.equal(look["errors"], [], "errors of scripts")


def with_client(server, ask):
    with server.client() as client:
        reply = ask(client)
        assert reply.status == 200, repr(reply)
        return reply


if __name__ == "__main__":
    main()
