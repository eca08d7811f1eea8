<?php

// The payment provider's webhook. An exception is a status 500, and the provider comes again.

declare(strict_types=1);

require __DIR__ . '/shop.php';

try {
    $paid = payment_in((string) file_get_contents('php://input'), $_SERVER);
} catch (Duly\Forged $forged) {
    http_response_code(401);
    exit;
}
echo $paid === null ? 'nothing to do' : payment_came(shop(), $paid['order'], $paid['payment']);
