<?php

declare(strict_types=1);

namespace Duly;

/**
 * A webhook request that is not from your Duly, or too old, or not whole. Answer 401 and do nothing.
 */
final class Forged extends \RuntimeException
{
}
