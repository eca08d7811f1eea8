<?php

/**
 * The customers: they order all the time, and most of them pay.
 *
 * Most pay soon, some in the last moment, some a little too late, and some never. A payment is what
 * a payment handler does: the order becomes paid if it is still unpaid; else the money goes back.
 */

declare(strict_types=1);

require __DIR__ . '/shop.php';

$every = (float) getenv('ORDER_EVERY');
$cron = (int) getenv('CRON_EVERY');
$paying = [];
$next = microtime(true);

while (true) {
    $now = microtime(true);
    if ($now >= $next) {
        $next = $now + $every * random_int(30, 170) / 100;
        $shop->prepare('INSERT INTO orders (customer, total, created_at) VALUES (?, ?, NOW(3))')
            ->execute(['customer ' . random_int(1000, 9999), random_int(990, 9990) / 100]);
        $chance = random_int(1, 100);
        if ($chance <= 55) {
            $after = $payWithin * random_int(5, 80) / 100;
        } elseif ($chance <= 65) {
            $after = $payWithin - random_int(0, 2000) / 1000;
        } else {
            $after = $payWithin + $cron * random_int(0, 130) / 100;
        }
        if ($chance <= 85) {
            $paying[(int) $shop->lastInsertId()] = $now + $after;
        }
    }
    foreach ($paying as $order => $at) {
        if ($now >= $at) {
            unset($paying[$order]);
            $shop->prepare("UPDATE orders SET status = 'paid', paid_at = NOW(3) WHERE id = ? AND status = 'unpaid'")
                ->execute([$order]);
        }
    }
    usleep(20_000);
}
