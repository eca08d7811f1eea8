<?php

/**
 * The cron job, as it is found in many shops: what is old and unpaid is cancelled, one after the other.
 *
 * Between the SELECT and the UPDATE of an order lie all the orders before it, each with its mail and its
 * stock (here: a third of a second). Who pays meanwhile has paid for an order that is cancelled next.
 */

declare(strict_types=1);

require __DIR__ . '/shop.php';

$old = $shop->query(
    "SELECT id FROM orders WHERE status = 'unpaid' AND created_at < NOW(3) - INTERVAL $payWithin SECOND"
)->fetchAll(PDO::FETCH_COLUMN);

foreach ($old as $order) {
    usleep(300_000);
    $shop->prepare("UPDATE orders SET status = 'cancelled' WHERE id = ?")->execute([$order]);
}
