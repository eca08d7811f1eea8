<?php

declare(strict_types=1);

namespace Shop;

/**
 * There is not enough in stock; what was begun is undone.
 */
final class SoldOut extends \RuntimeException
{
}
