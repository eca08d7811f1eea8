<?php

declare(strict_types=1);

namespace Duly;

/**
 * The server refused, and says why. Decide by `errorCode`: it is stable, and docs/errors.md explains
 * each. The words may be better ones one day.
 */
final class Refused extends Problem
{
    /** @var string the stable code: `due_in_past`, `unknown_field`, `storage_low`, … */
    public $errorCode;

    /** @var int the HTTP status, which is also what getCode() gives */
    public $status;

    /** @var string what to do about it */
    public $hint;

    /** @var Deadline|null the deadline as it stands, if the refusal is about one */
    public $deadline;

    /** @var array<string, mixed> the whole problem: `title`, `detail`, `field`, … */
    public $body;

    /** @param array<string, mixed> $body */
    public function __construct(string $call, array $body, bool $unknown = false)
    {
        $this->errorCode = (string) $body['code'];
        $this->status = (int) ($body['status'] ?? 0);
        $this->hint = (string) ($body['hint'] ?? '');
        $this->deadline = Deadline::read($body['deadline'] ?? null);
        $this->body = $body;
        $words = array_filter([$body['title'] ?? '', $body['detail'] ?? '', $this->hint]);
        parent::__construct("$call: {$this->errorCode}: " . implode('; ', $words), $this->status);
        $this->unknown = $unknown;
    }
}
