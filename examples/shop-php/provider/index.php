<?php

// The pretend provider's page, where the customer pays. It runs in processes of its own, as somebody
// else's server would, and tells the shop over HTTP, signed.

declare(strict_types=1);

namespace Provider;

use function Shop\database;
use function Shop\go;
use function Shop\setting;

require __DIR__ . '/../shop/start.php';
require __DIR__ . '/../shop/page.php';

$provider = new Provider(database());
preg_match('~^/provider/([0-9a-f]{24})$~D', (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), $found);
$session = isset($found[1]) ? $provider->session($found[1]) : null;
if ($session === null) {
    http_response_code(404);
    exit('There is no such payment.');
}

$declined = false;
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $does = (string) ($_POST['do'] ?? '');
    $declined = $does === 'decline';
    if ($does === 'pay') {
        $provider->pay($session['id'], 'open');
    } elseif ($does === 'send') {
        $provider->send($session['id']);
    } elseif ($does === 'arrive') {
        $provider->pay($session['id'], 'under_way');
    }
    $session = $provider->session($session['id']);
    if ($session['state'] === 'paid') {
        if ($provider->tell($session['id'], setting('SHOP_URL'), setting('PROVIDER_SECRET'))) {
            go("/orders/{$session['order_id']}");
            exit;
        }
        http_response_code(502);   // the shop has not heard of it: it must be told again
    }
}
if ($session['state'] === 'under_way' && $session['is_awaited']) {
    header('Refresh: 2');
}
header('Cache-Control: no-store');
require __DIR__ . '/page.php';
