<?php

// POST sku, quantity: the customer's "place order".

declare(strict_types=1);

require __DIR__ . '/shop.php';

header('Content-Type: application/json');
$order = place_order(shop(), (string) ($_POST['sku'] ?? ''), max(1, (int) ($_POST['quantity'] ?? 1)));
http_response_code($order === null ? 409 : 201);
echo json_encode($order === null ? ['error' => 'sold out'] : ['order' => $order]);
