<?php

declare(strict_types=1);

namespace Duly;

/**
 * What became of a deadline, whether that was wished for or not. A settle that came too late is an
 * answer, not an exception: a shop must look at it.
 */
final class Answer
{
    /** What an operation is called once it has been carried out, where the server has no word for it. */
    private const DONE = [
        'extend' => 'extended', 'freeze' => 'frozen', 'revive' => 'revived', 'erase' => 'erased',
        'get' => 'found', 'verdict' => 'accepted', 'touch' => 'touched',
    ];

    /**
     * The one word for what happened. Schedule: `created`, `kept`. Settle: `settled`,
     * `already_settled`, `remembered`, `too_late`, `settled_otherwise`, `unknown_deadline`,
     * `other_generation`. Others: `extended`, `frozen`, `revived`, `erased`, `found`, `accepted`, `touched`,
     * or the code of the refusal.
     *
     * @var string
     */
    public $result;

    /** @var bool it is as was asked */
    public $ok;

    /** @var bool a new deadline, or a new generation of it, began */
    public $created;

    /** @var bool it is settled with this very outcome, by this call or an earlier one */
    public $settled;

    /** @var bool it had lapsed before; look at `acted` */
    public $tooLate;

    /** @var bool it was settled before with another outcome, which `deadline` shows */
    public $settledOtherwise;

    /** @var bool there is no such deadline */
    public $unknownDeadline;

    /** @var bool the lease is over; somebody else may be acting on the delivery now */
    public $leaseLost;

    /** @var string|null when too late: `no`, `maybe`, `yes`, `kept` or `never` */
    public $acted;

    /** @var Deadline|null as it stands now */
    public $deadline;

    /** @var string[] what of a kept deadline is not as was asked: `due`, `payload`, `priority` */
    public $differs;

    /** @var string[] codes, such as `nobody_acts` */
    public $warnings;

    /**
     * An earlier attempt of this same call may have been carried out before its answer was lost. So
     * a `kept` deadline may be this call's own.
     *
     * @var bool
     */
    public $repeated;

    /** @var Refused|null of a line of a batch: what the single call would have said or thrown */
    public $refused;

    /** @var array<string, mixed> all that the server said */
    public $body;

    /**
     * @param array<string, mixed> $body
     * @internal
     */
    public function __construct(string $operation, array $body, bool $repeated, ?Refused $refused = null)
    {
        if ($refused !== null) {
            $this->result = $refused->errorCode;
        } elseif ($operation === 'schedule') {
            $this->result = $body['created'] ? 'created' : 'kept';
        } else {
            $this->result = $body['result'] ?? self::DONE[$operation] ?? 'done';
        }
        $this->ok = $refused === null;
        $this->created = $this->result === 'created';
        $this->settled = $this->ok && in_array($this->result, ['settled', 'already_settled'], true);
        $this->tooLate = $this->result === 'too_late';
        $this->settledOtherwise = $this->result === 'settled_otherwise';
        $this->unknownDeadline = $this->result === 'unknown_deadline';
        $this->leaseLost = $this->result === 'lease_lost';
        $this->acted = $body['acted'] ?? null;
        $this->deadline = Deadline::read($body['deadline'] ?? null);
        $this->differs = $body['differs'] ?? [];
        $this->warnings = array_column($body['warnings'] ?? [], 'code');
        $this->repeated = $repeated;
        $this->refused = $refused;
        $this->body = $body;
    }
}
