#!/usr/bin/env python3
"""The demo shop in a real browser: one order is paid in time, one is not and is duly cancelled.

Starts `duly demo` and drives headless Chromium over it (`node/browser.mjs`); the screenshots stay in
the system's folder for temporary files, to be looked at.
"""

import json
import os
import shutil
import subprocess
import tempfile

from blackbox import Suite

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with Suite("browser", floor=14) as suite:
        chromium = next(
            (found for name in ("chromium", "chromium-browser", "google-chrome")
             if (found := shutil.which(name))),
            None,
        )
        if not suite.check(chromium, "there is a browser"):
            return
        pictures = os.path.join(tempfile.gettempdir(), "duly-screenshots")
        os.makedirs(pictures, exist_ok=True)
        server = suite.server(command="demo")
        said = subprocess.run(
            ["node", os.path.join(HERE, "node", "browser.mjs"), chromium,
             f"http://127.0.0.1:{server.port}", pictures],
            capture_output=True, text=True, timeout=180, check=False,
        )
        print(said.stderr, end="")
        suite.equal(said.returncode, 0, f"the browser's script: {said.stdout[-500:]}")
        for line in said.stdout.splitlines():
            found = json.loads(line)
            suite.check(found["good"], f"{found['what']}: {found.get('seen', '')}")
            print(f"  {found['what']}")
        taken = [name for name in os.listdir(pictures) if name.endswith(".png")]
        suite.check(len(taken) >= 3, "screenshots were taken")
        print(f"screenshots: {pictures}")


if __name__ == "__main__":
    main()
