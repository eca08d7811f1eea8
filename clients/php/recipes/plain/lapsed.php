<?php

// Duly's webhook: one lapse or a batch, verified, each answered by itself.

declare(strict_types=1);

require __DIR__ . '/shop.php';

$db = shop();
Duly\Webhook::receive(getenv('DULY_WEBHOOK_SECRET'), static function (Duly\Delivery $delivery) use ($db): Duly\Verdict {
    return time_is_up($db, $delivery);
});
