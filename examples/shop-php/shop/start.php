<?php

// Puts the shop together from its environment, for its pages and for `lapsed.php` alike.

declare(strict_types=1);

namespace Shop;

use Duly\Client;
use Provider\Provider;

require_once __DIR__ . '/../duly.php';
require_once __DIR__ . '/../provider/Provider.php';

spl_autoload_register(static function (string $class): void {
    $name = substr($class, strlen('Shop\\'));
    foreach ([__DIR__ . "/$name.php", __DIR__ . "/ways/$name.php"] as $file) {
        if (strpos($class, 'Shop\\') === 0 && is_file($file)) {
            require $file;
        }
    }
});

function setting(string $name): string
{
    $value = getenv($name);
    if ($value === false || $value === '') {
        throw new \RuntimeException("$name is not set; start the shop with `run`");
    }
    return $value;
}

function database(): Database
{
    return new Database(setting('SHOP_DSN'), 'shop', setting('SHOP_DB_PASSWORD'));
}

function orders(): Orders
{
    $duly = new Client(setting('SHOP_DULY_URL'));
    $secondsToPay = (int) setting('PAY_WITHIN');
    $ways = [
        'm1' => new WatchLink($duly), 'm2' => new TableWatch(), 'm3' => new OneCall($duly),
        'm4' => new ExpiringKey((int) setting('SHOP_REDIS_PORT'), $secondsToPay),
    ];
    $db = database();
    return new Orders($db, new Provider($db), $ways[setting('SHOP_WAY')], $secondsToPay);
}
