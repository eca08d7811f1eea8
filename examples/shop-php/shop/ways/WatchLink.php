<?php

declare(strict_types=1);

namespace Shop;

use Duly\Client;

/**
 * M1: the page counts down by a watch link, and the server decides, whether or not the page is open.
 */
final class WatchLink implements Way
{
    private Client $duly;
    private OneCall $call;

    public function __construct(Client $duly)
    {
        $this->duly = $duly;
        $this->call = new OneCall($duly);
    }

    public function placed(Order $order, Database $db): void
    {
        $this->call->placed($order, $db);
        $link = $this->duly->call('POST', '/v1/links', ['queue' => 'orders', 'key' => (string) $order->id], true);
        $db->change('UPDATE orders SET watch = ? WHERE id = ?', [$link['url'], $order->id]);
    }

    public function paid(int $order): void
    {
        $this->call->paid($order);
    }
}
