#!/usr/bin/env python3
"""The PHP client: its own tests against real servers, its recipes, strangers' signatures, old PHP.

Runs `clients/php` with Debian's phpunit twice, as the one file and class by class as Composer would
load it; every test it ran counts, and every assertion. What the client signs is verified by the
`standardwebhooks` package and the other way round. PHP 7.4, the oldest that is promised, parses every
file, those of the examples too, and runs the tests that need no network. The PHP in the documents is parsed too.
"""

import base64
import datetime
import json
import os
import random
import re
import secrets
import subprocess
import tempfile
import xml.etree.ElementTree

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from blackbox import Suite

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CLIENT = os.path.join(ROOT, "clients", "php")

SIGNER = r"""
require $argv[1];
$said = [];
foreach (json_decode(stream_get_contents(STDIN), true) as $ask) {
    $signature = Duly\Webhook::sign($ask['body'], $ask['id'], $ask['at'], $ask['secret']);
    try {
        $id = Duly\Webhook::check($ask['body'], $ask['headers'], $ask['secrets']);
    } catch (Duly\Forged $forged) {
        $id = null;
    }
    $said[] = ['signature' => $signature, 'id' => $id];
}
echo json_encode($said);
"""


def main():
    with Suite("php", floor=1200) as suite:
        phpunit(suite, "one file", {})
        phpunit(suite, "class by class", {"DULY_PHP": "src"}, "--filter", "Written|Webhook|Calls")
        signatures(suite)
        oldest(suite)
        documents(suite)


def phpunit(suite, name, env, *args):
    """Runs the client's own tests."""
    report = suite.path(f"{name}.xml")
    said = subprocess.run(
        ["phpunit", "--log-junit", report, *args],
        cwd=CLIENT,
        env={**os.environ, "DULY_BINARY": suite.binary, "TMPDIR": suite.directory, **env},
        capture_output=True, text=True, timeout=600, check=False,
    )
    suite.equal(said.returncode, 0, f"phpunit, {name}: {said.stdout[-3000:]}{said.stderr[-1000:]}")
    tests = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    for test in tests:
        suite.check(test.find("skipped") is None, f"{name}: {test.get('name')} was skipped")
        suite.work += int(test.get("assertions"))
    print(f"  {name}: {len(tests)} tests")


def php(code, *args, given=""):
    """What a piece of PHP says."""
    return subprocess.run(
        ["php", "-r", code, "--", *args],
        input=given, capture_output=True, text=True, timeout=60, check=True,
    ).stdout


def secret(size):
    """A webhook secret."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(size)).decode()


def wrong(signed):
    """The same signature but for its first character."""
    version, signature = signed.split(",")
    return f"{version},{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def signatures(suite):
    """Both sign and both verify, good and forged, with one secret and with several."""
    dice = random.Random(20261122)
    now = datetime.datetime.now(datetime.timezone.utc)
    asks, wanted = [], []
    for number in range(100):
        key, other = secret(dice.randrange(24, 65)), secret(32)
        body = json.dumps({"number": number, "text": "ü☕" * dice.randrange(50)})
        signed = Webhook(key).sign(f"msg_{number}", now, body)
        forged = number % 4 == 3
        headers = {
            "webhook-id": f"msg_{number}",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(other).sign(f"msg_{number}", now, body) + " "
            + (wrong(signed) if forged else signed),
        }
        asks.append({
            "body": body, "id": f"msg_{number}", "at": int(now.timestamp()), "secret": key,
            "secrets": [secret(24), key], "headers": headers,
        })
        wanted.append(None if forged else f"msg_{number}")
    said = json.loads(php(SIGNER, os.path.join(CLIENT, "duly.php"), given=json.dumps(asks)))
    for ask, want, answer in zip(asks, wanted, said, strict=True):
        suite.equal(answer["id"], want, "PHP says")
        try:
            Webhook(ask["secret"]).verify(
                ask["body"], {**ask["headers"], "webhook-signature": answer["signature"]}
            )
            suite.check(True, "verified")
        except WebhookVerificationError as error:
            suite.check(False, f"a signature by PHP: {error}")


def oldest(suite):
    """PHP 7.4 itself, for the client and for the examples."""
    said = subprocess.run(
        ["node", os.path.join(HERE, "node", "php74.mjs"), CLIENT, "/usr/share/php",
         os.path.join(ROOT, "examples")],
        capture_output=True, text=True, timeout=120, check=False,
    )
    if not suite.equal(said.returncode, 0, f"PHP 7.4: {said.stderr[-2000:]}"):
        return
    told = json.loads(said.stdout)
    suite.check(told["version"].startswith("7.4."), f"it is {told['version']}")
    suite.equal(told["faults"], [], f"PHP {told['version']}")
    suite.check(told["parsed"] >= 50 and told["ran"] >= 40, f"it did too little: {told}")
    print(f"  PHP {told['version']}: {told['parsed']} files, {told['ran']} tests")


def documents(suite):
    """Every block of PHP in the documents is PHP."""
    blocks = 0
    for path in [
        "README.md", "docs/deliveries.md", "docs/recipes.md", "docs/redis.md", "clients/php/README.md",
        "examples/shop-php/README.md",
    ]:
        with open(os.path.join(ROOT, path), encoding="utf-8") as document:
            found = re.findall(r"^```php\n(.*?)^```", document.read(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(found, 1):
            code = block if block.startswith("<?php") else f"<?php\n{block}"
            with tempfile.NamedTemporaryFile("w", suffix=".php", encoding="utf-8") as file:
                file.write(code)
                file.flush()
                said = subprocess.run(
                    ["php", "-l", file.name], capture_output=True, text=True, check=False
                )
            suite.equal(said.returncode, 0, f"{path}, block {number}: {said.stdout}")
            blocks += 1
    suite.check(blocks >= 10, f"{blocks} blocks of PHP were found")


if __name__ == "__main__":
    main()
