// Verifies webhook requests with the `standardwebhooks` package, for `tests/webhooks.py`.
//
// Reads a JSON list of {secret, headers, body} from standard input and writes a list of verdicts:
// "ok", or the error's message. It never talks to the network.

import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const requests = JSON.parse(readFileSync(0, "utf8"));
const verdicts = requests.map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return "ok";
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
});
process.stdout.write(JSON.stringify(verdicts));
