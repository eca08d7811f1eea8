<?php

/**
 * What both halves of the shop have in common: its database, and how long a customer has to pay.
 *
 * Nothing here knows Duly. Everything comes from the environment, which `run` sets.
 */

declare(strict_types=1);

$shop = new PDO(getenv('SHOP_PDO'), 'shop', getenv('SHOP_PASSWORD'), [
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
    PDO::MYSQL_ATTR_INIT_COMMAND => "SET time_zone = '+00:00'",
]);
$payWithin = (int) getenv('PAY_WITHIN');
