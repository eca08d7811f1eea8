<?php

declare(strict_types=1);

namespace Duly;

/**
 * What a call to Duly may throw: the server refused, or gave no answer. Catch this one to catch both.
 */
abstract class Problem extends \RuntimeException
{
    /**
     * Nobody knows whether the request was carried out: it may have been heard and its answer lost.
     * When it is false nothing has happened.
     *
     * @var bool
     */
    public $unknown = false;
}
