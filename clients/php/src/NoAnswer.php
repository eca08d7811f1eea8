<?php

declare(strict_types=1);

namespace Duly;

/**
 * The server gave no answer, or something that is not Duly's answered. `unknown` says whether the
 * request may have been carried out all the same.
 */
final class NoAnswer extends Problem
{
    public function __construct(string $message, bool $unknown, ?\Throwable $previous = null)
    {
        parent::__construct($message, 0, $previous);
        $this->unknown = $unknown;
    }
}
