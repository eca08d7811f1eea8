<?php

// The pages of the shop, and the two addresses that machines call: the payment provider's and Duly's.

declare(strict_types=1);

namespace Shop;

use Duly\Delivery;
use Duly\Forged;
use Duly\Verdict;
use Duly\Webhook;

require __DIR__ . '/start.php';
require __DIR__ . '/page.php';

set_exception_handler(static function (\Throwable $error): void {
    error_log((string) $error);
    while (ob_get_level() > 0) {
        ob_end_clean();   // half a page
    }
    page('sorry', [], 500);
});

$orders = orders();
$number = '([1-9][0-9]{0,9})';

$routes = [
    'GET /' => static function () use ($orders): void {
        page('product', ['product' => $orders->product('teapot'), 'quantity' => 1]);
    },
    'POST /orders' => static function () use ($orders): void {
        $quantity = min(5, max(1, (int) ($_POST['quantity'] ?? 1)));
        $order = $orders->place((string) ($_POST['product'] ?? ''), $quantity);
        if ($order === null) {
            page('product', ['product' => $orders->product('teapot'), 'quantity' => $quantity, 'soldOut' => true], 409);
        } else {
            go("/orders/$order");
        }
    },
    "GET /orders/$number" => static function (string $id) use ($orders): void {
        $order = $orders->find((int) $id);
        $order === null ? page('missing', [], 404) : page('order', ['order' => $order]);
    },
    "POST /orders/$number/pay" => static function (string $id) use ($orders): void {
        go($orders->paymentPage((int) $id) ?? "/orders/$id");
    },
    'GET /shopkeeper' => static function () use ($orders): void {
        page('shopkeeper', [
            'orders' => $orders->latest(50), 'counts' => $orders->counts(), 'product' => $orders->product('teapot'),
        ]);
    },

    // The payment provider calls: money has come. An exception is a status 500, and the provider calls again.
    'POST /paid' => static function () use ($orders): void {
        $body = (string) file_get_contents('php://input');
        try {
            Webhook::check($body, $_SERVER, setting('PROVIDER_SECRET'));
        } catch (Forged $forged) {
            json(['error' => 'not signed by the provider'], 401);
            return;
        }
        $said = json_decode($body, true, 8, JSON_THROW_ON_ERROR);
        json(['result' => $orders->paymentCame((int) $said['order'], (string) $said['payment'])]);
    },
    // Duly calls: time is up. The client verifies the signature and answers with the verdict.
    'POST /lapsed' => static function () use ($orders): void {
        Webhook::receive(setting('LAPSE_SECRET'), static function (Delivery $delivery) use ($orders): Verdict {
            return $orders->timeIsUp($delivery);
        });
    },
];

$asked = $_SERVER['REQUEST_METHOD'] . ' ' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
foreach ($routes as $route => $handler) {
    if (preg_match("~^$route$~D", $asked, $found) === 1) {
        $handler(...array_slice($found, 1));
        exit;
    }
}
page('missing', [], 404);
