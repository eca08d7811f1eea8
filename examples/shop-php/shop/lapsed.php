<?php

// What Duly runs when an order's time is up, with `run --act exec`: the lapse is on standard input, the
// exit status is the verdict. The webhook of `index.php` calls the very same `timeIsUp`.

declare(strict_types=1);

namespace Shop;

use Duly\Delivery;

require __DIR__ . '/start.php';

const DONE = 0;
const TRY_AGAIN = 75;
const SUPERSEDED = 99;

try {
    $lapse = json_decode((string) stream_get_contents(STDIN), true, 64, JSON_THROW_ON_ERROR);
    $verdict = orders()->timeIsUp(new Delivery($lapse['data']));
} catch (\Throwable $error) {
    fwrite(STDERR, get_class($error) . ': ' . $error->getMessage());
    exit(TRY_AGAIN);
}
exit($verdict->fields['verdict'] === 'done' ? DONE : SUPERSEDED);
