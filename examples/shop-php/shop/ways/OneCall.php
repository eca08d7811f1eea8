<?php

declare(strict_types=1);

namespace Shop;

use Duly\Client;
use Duly\Problem;

/**
 * M3: one HTTP call in the checkout. Duly calls `/lapsed` back, or runs `lapsed.php`.
 */
final class OneCall implements Way
{
    private Client $duly;

    public function __construct(Client $duly)
    {
        $this->duly = $duly;
    }

    public function placed(Order $order, Database $db): void
    {
        $this->duly->schedule('orders', $order->id, ['due' => $order->payBefore]);
    }

    public function paid(int $order): void
    {
        try {
            $this->duly->settle('orders', $order, 'paid');
        } catch (Problem $problem) {
            error_log((string) $problem);
        }
    }
}
