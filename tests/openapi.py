#!/usr/bin/env python3
"""The description of the API is true: it validates, and a fuzzer that follows it finds no fault.

`openapi-spec-validator` reads `/openapi.json`; `schemathesis` then makes requests from it, good and
bad ones, in a bounded run that is the same every time, and holds every answer against what is described.
"""

import json
import os
import re
import subprocess
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

from blackbox import Suite

EXAMPLES = 20
LEFT_OUT = [
    # A well-formed request may still be refused: the deadline is not there, or it is too late.
    "positive_data_acceptance",
]
METHODS = ("get", "put", "post", "delete", "patch")


def main():
    with Suite("openapi", floor=800) as suite:
        server = suite.server()
        with server.client() as client:
            reply = client.get("/openapi.json")
            suite.equal(reply.status, 200, "/openapi.json")
            description = reply.json
        described(suite, description)
        fuzz(suite, server)
        suite.check(server.process.poll() is None and server.ready(), "the server is still there")
        suite.check("panicked" not in server.said(), "nothing panicked")


def described(suite, description):
    """It is valid, and says something about everything."""
    known = set(description["components"]["schemas"])
    named = set(re.findall(r"#/components/schemas/([^\"]+)", json.dumps(description)))
    if not suite.equal(named - known, set(), "schemas that are named and not there"):
        return
    faults = list(OpenAPIV31SpecValidator(description).iter_errors())
    suite.check(not faults, f"/openapi.json is not valid: {str(faults[:3])[:2000]}")
    suite.check(description["openapi"].startswith("3.1"), "OpenAPI 3.1")
    for path, item in description["paths"].items():
        for method, operation in item.items():
            if method not in METHODS:
                continue
            who = f"{method.upper()} {path}"
            suite.check(operation.get("summary") or operation.get("description"), f"{who}: no words")
            suite.check(operation.get("operationId"), f"{who}: no id")
            suite.check(
                any(status.startswith("2") for status in operation["responses"]), f"{who}: no success"
            )


def fuzz(suite, server):
    """A bounded run of schemathesis; each generated request counts as one check."""
    runner = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    said = subprocess.run(
        [
            runner, "run", f"http://127.0.0.1:{server.port}/openapi.json",
            "--checks", "all",
            "--exclude-checks", ",".join(LEFT_OUT),
            "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(EXAMPLES), "--generation-deterministic",
            "--request-timeout", "30", "--no-color",
            # Streams of events never end; a moved clock would change every later answer.
            "--exclude-path-regex", "events$|^/v1/clock",
        ],
        capture_output=True, text=True, timeout=600, cwd=suite.directory, check=False,
    )
    text = said.stdout + said.stderr
    if not suite.check(said.returncode == 0, f"schemathesis found faults (exit {said.returncode})"):
        print(text[-12_000:])
    made = re.findall(r"(\d+) generated", text)
    suite.work += sum(int(count) for count in made)


if __name__ == "__main__":
    main()
