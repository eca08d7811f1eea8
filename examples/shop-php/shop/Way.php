<?php

declare(strict_types=1);

namespace Shop;

/**
 * How Duly comes to know of an order. All that differs between the ways is in the folder `ways`.
 */
interface Way
{
    /** Inside the transaction that places the order, before its commit. */
    public function placed(Order $order, Database $db): void;

    /** After the order was paid. A failure here is for the log: the lapse will find the order paid. */
    public function paid(int $order): void;
}
