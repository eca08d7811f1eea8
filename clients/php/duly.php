<?php

// The PHP client of Duly, whole in one file: require 'duly.php';
// PHP 7.4 or newer, no extension, no Composer. Assembled from src/, where it is changed.
// SPDX-License-Identifier: MIT OR Apache-2.0

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

/**
 * The calls of a Duly server.
 *
 * A duration is `'30m'`, seconds, or a DateInterval; an instant is a DateTimeInterface, RFC 3339, or milliseconds
 * since 1970. A call is repeated within its budget of time whenever that cannot do more than the call
 * alone would; `clients/php/README.md` says for each what the server answers the second time.
 */
final class Client
{
    public const URL = 'http://127.0.0.1:7830';

    /** Refusals that are answers. All others are thrown. */
    private const ANSWERS = [
        'settle' => ['too_late', 'settled_otherwise', 'unknown_deadline', 'other_generation'],
        'extend' => ['too_late', 'already_settled', 'unknown_deadline'],
        'freeze' => ['too_late', 'already_settled', 'unknown_deadline'],
        'revive' => ['not_dead', 'unknown_deadline'],
        'erase' => ['unknown_deadline'],
        'get' => ['unknown_deadline'],
        'verdict' => ['lease_lost', 'unknown_delivery'],
        'touch' => ['lease_lost', 'unknown_delivery'],
    ];

    /** @var Http */
    private $http;

    /**
     * @param array<string, mixed> $how in seconds: `connect` (1), `answer` (5) for one attempt, `budget` (8) for
     *        a call with all its attempts and pauses; `headers` for every request
     */
    public function __construct(string $url = self::URL, array $how = [])
    {
        $this->http = new Http($url, $how);
    }

    /**
     * Promises something by a time.
     *
     * @param string|int $key
     * @param array<string, mixed> $how `after` or `due`, `payload`, `priority`, `if_exists` (`keep`, `replace`,
     *        `renew`, `fail`), `allow_past`
     */
    public function schedule(string $queue, $key, array $how = []): Answer
    {
        return $this->on('schedule', 'PUT', $queue, $key, '', $how);
    }

    /**
     * It happened. The answer says who won: look at `settled`, `tooLate`, `settledOtherwise`.
     *
     * @param string|int $key
     * @param array<string, mixed> $how `remember`, `generation`
     */
    public function settle(string $queue, $key, string $outcome, array $how = []): Answer
    {
        return $this->on('settle', 'POST', $queue, $key, '/settle', ['outcome' => $outcome] + $how);
    }

    /**
     * More time.
     *
     * @param string|int $key
     * @param mixed $more a duration, or the new due time as a DateTimeInterface
     * @param array<string, mixed> $how `if_due`: only if it is due then, which makes a lost answer harmless
     */
    public function extend(string $queue, $key, $more, array $how = []): Answer
    {
        $more = [$more instanceof \DateTimeInterface ? 'due' : 'by' => $more];
        return $this->on('extend', 'POST', $queue, $key, '/extend', $more + $how);
    }

    /**
     * Holds the lapse back for a while; `0s` ends that.
     *
     * @param string|int $key
     * @param mixed $for a duration
     */
    public function freeze(string $queue, $key, $for): Answer
    {
        return $this->on('freeze', 'POST', $queue, $key, '/freeze', ['for' => $for]);
    }

    /**
     * The deadline, or null if there is none.
     *
     * @param string|int $key
     */
    public function get(string $queue, $key): ?Deadline
    {
        return $this->on('get', 'GET', $queue, $key, '', [])->deadline;
    }

    /**
     * Tries a dead delivery again, now.
     *
     * @param string|int $key
     */
    public function revive(string $queue, $key): Answer
    {
        return $this->on('revive', 'POST', $queue, $key, '/revive', []);
    }

    /**
     * Forgets a final or dead deadline for ever; says whether there was one.
     *
     * @param string|int $key
     */
    public function erase(string $queue, $key): bool
    {
        $answer = $this->on('erase', 'DELETE', $queue, $key, '', []);
        return $answer->ok || $answer->repeated;
    }

    /**
     * Many operations with one disk sync. Each is `op`, `queue`, `key` and the fields of the single call.
     *
     * @param array<int, array<string, mixed>> $operations
     * @return Answer[] in their order; a refused line has `refused` and does not throw
     */
    public function batch(array $operations): array
    {
        $lines = '';
        $repeatable = true;
        foreach ($operations as $operation) {
            if (isset($operation['key'])) {
                $operation['key'] = (string) $operation['key'];
            }
            $repeatable = $repeatable && self::repeatable((string) ($operation['op'] ?? ''), $operation);
            $lines .= Written::json($operation) . "\n";
        }
        $reply = $this->http->ask('POST', '/v1/batch', $lines, $repeatable);
        if ($reply['status'] !== 200) {
            throw self::failure('POST /v1/batch', $reply);
        }
        $answers = [];
        foreach (explode("\n", trim($reply['body'])) as $number => $line) {
            $op = (string) ($operations[$number]['op'] ?? '');
            $body = self::decoded('POST /v1/batch', $line, $reply['repeated']);
            $refused = isset($body['code']) ? new Refused("line $number: $op", $body) : null;
            $answers[] = new Answer($op, $body, $reply['repeated'], $refused);
        }
        return $answers;
    }

    /**
     * Deliveries of a `pull` queue for this worker; empty when none came in time.
     *
     * @param array<string, mixed> $how `max` (1), `wait` (0), `lease` (`30s`)
     * @return Delivery[]
     */
    public function lease(string $queue, array $how = []): array
    {
        $wait = isset($how['wait']) ? Written::seconds($how['wait']) ?? 60.0 : 0.0;
        // A lease whose answer was lost runs out, and its deliveries come again: nobody has acted on them.
        $body = $this->call('POST', '/v1/queues/' . rawurlencode($queue) . '/lease', $how, true, $wait);
        return array_map(static function (array $delivery): Delivery {
            return new Delivery($delivery);
        }, $body['deliveries']);
    }

    /** Says how an attempt ended. `leaseLost`: too late to say, somebody else has it now. */
    public function verdict(Delivery $delivery, Verdict $verdict): Answer
    {
        $path = '/v1/deliveries/' . rawurlencode($delivery->id) . '/verdict';
        return $this->operation('verdict', 'POST', $path, ['token' => $delivery->token] + $verdict->fields);
    }

    /**
     * Keeps a lease for another while, from now on. False: it is lost, stop.
     *
     * @param mixed $lease a duration
     */
    public function touch(Delivery $delivery, $lease = '30s'): bool
    {
        $path = '/v1/deliveries/' . rawurlencode($delivery->id) . '/touch';
        return $this->operation('touch', 'POST', $path, ['token' => $delivery->token, 'lease' => $lease])->ok;
    }

    /**
     * Deadlines in the order of their due times, page by page as they are asked for.
     *
     * @param array<string, mixed> $filter `state`, `delivery`, `due_from`, `due_to`, `key_prefix`
     * @return \Generator<Deadline>
     */
    public function deadlines(string $queue, array $filter = []): \Generator
    {
        $filter = json_decode(Written::json($filter), true);
        do {
            $query = http_build_query($filter, '', '&', PHP_QUERY_RFC3986);
            $page = $this->call('GET', '/v1/queues/' . rawurlencode($queue) . "/deadlines?$query", [], true);
            foreach ($page['deadlines'] as $deadline) {
                yield Deadline::read($deadline);
            }
            $filter['cursor'] = $page['next_cursor'];
        } while ($filter['cursor'] !== null);
    }

    /**
     * Creates a queue or changes its policy; what is left out is as the defaults have it.
     *
     * @param array<string, mixed> $policy
     * @return array<string, mixed> the queue
     */
    public function setQueue(string $queue, array $policy): array
    {
        return $this->call('PUT', '/v1/queues/' . rawurlencode($queue), $policy, true)['queue'];
    }

    /** @return array<string, mixed> the queue with its policy and counts */
    public function queue(string $queue): array
    {
        return $this->call('GET', '/v1/queues/' . rawurlencode($queue), [], true)['queue'];
    }

    /** @return array<string, mixed> counts of one queue, or of all */
    public function stats(?string $queue = null): array
    {
        $path = $queue === null ? '/v1/stats' : '/v1/queues/' . rawurlencode($queue) . '/stats';
        return $this->call('GET', $path, [], true);
    }

    /**
     * Any other call of the API. Repeat it only if hearing it twice does no more than hearing it once.
     *
     * @param array<string, mixed> $fields
     * @param float $wait how long the server is asked to hold the answer back, in seconds
     * @return array<string, mixed> the body of the answer
     */
    public function call(string $method, string $path, array $fields = [], bool $repeatable = false, float $wait = 0.0): array
    {
        $body = $method === 'GET' || $method === 'DELETE' ? '' : Written::json($fields);
        $reply = $this->http->ask($method, $path, $body, $repeatable, $wait);
        if ($reply['status'] >= 300) {
            throw self::failure("$method $path", $reply);
        }
        return self::decoded("$method $path", $reply['body'], true);
    }

    /**
     * May this be heard twice? Yes, if the second time changes nothing and its answer does not mislead.
     *
     * @param array<string, mixed> $fields
     */
    private static function repeatable(string $operation, array $fields): bool
    {
        switch ($operation) {
            case 'schedule':
                // `replace` and `renew` would begin another generation of what lapsed in between, and it
                // would be acted on twice; `fail` would be told that somebody else was first.
                return ($fields['if_exists'] ?? 'keep') === 'keep';
            case 'extend':
                return isset($fields['due']) || isset($fields['if_due']);
            case 'settle':
            case 'freeze':
            case 'get':
            case 'revive':
            case 'erase':
            case 'verdict':
            case 'touch':
                return true;
            default:
                return false;
        }
    }

    /**
     * @param string|int $key
     * @param array<string, mixed> $fields
     */
    private function on(string $operation, string $method, string $queue, $key, string $verb, array $fields): Answer
    {
        $path = '/v1/queues/' . rawurlencode($queue) . '/deadlines/' . rawurlencode((string) $key) . $verb;
        return $this->operation($operation, $method, $path, $fields);
    }

    /** @param array<string, mixed> $fields */
    private function operation(string $operation, string $method, string $path, array $fields): Answer
    {
        $body = $method === 'GET' || $method === 'DELETE' ? '' : Written::json($fields);
        $reply = $this->http->ask($method, $path, $body, self::repeatable($operation, $fields));
        $repeated = $reply['repeated'];
        if ($reply['status'] < 300) {
            return new Answer($operation, self::decoded("$method $path", $reply['body'], true), $repeated);
        }
        $failure = self::failure("$method $path", $reply);
        if (!$failure instanceof Refused) {
            throw $failure;
        }
        if ($operation === 'extend' && $repeated && self::isExtended($failure, $fields)) {
            return new Answer($operation, ['deadline' => $failure->body['deadline']], true);
        }
        if (!in_array($failure->errorCode, self::ANSWERS[$operation] ?? [], true)) {
            throw $failure;
        }
        return new Answer($operation, $failure->body, $repeated, $failure);
    }

    /**
     * Is `due_changed` the work of an earlier attempt of the same call: due just when it was asked for?
     *
     * @param array<string, mixed> $fields
     */
    private static function isExtended(Refused $refused, array $fields): bool
    {
        $by = Written::seconds($fields['by'] ?? null);
        if ($refused->errorCode !== 'due_changed' || $refused->deadline === null || $by === null) {
            return false;
        }
        $before = $fields['if_due'];
        if (is_string($before)) {
            $before = new \DateTimeImmutable($before);
        }
        $milliseconds = $before instanceof \DateTimeInterface ? (int) $before->format('Uv') : (int) $before;
        return (int) $refused->deadline->due->format('Uv') === $milliseconds + (int) round($by * 1000);
    }

    /** @param array{status: int, headers: array<string, string>, body: string, repeated: bool} $reply */
    private static function failure(string $call, array $reply): Problem
    {
        $body = json_decode($reply['body'], true);
        $unknown = $reply['repeated'] || $reply['status'] >= 500;
        if (is_array($body) && isset($body['code'])) {
            return new Refused($call, $body, $unknown);
        }
        return new NoAnswer("$call: status {$reply['status']} is not from Duly; is it the right URL?", $unknown);
    }

    /** @return array<string, mixed> */
    private static function decoded(string $call, string $json, bool $unknown): array
    {
        $body = json_decode($json, true, 512, JSON_BIGINT_AS_STRING);
        if (!is_array($body)) {
            throw new NoAnswer("$call: the answer is not from Duly; is it the right URL?", $unknown);
        }
        return $body;
    }
}

/**
 * A deadline as the server shows it. Fields of another state than its own are null.
 */
final class Deadline
{
    /** @var string */
    public $queue;

    /** @var string */
    public $key;

    /** @var string */
    public $id;

    /** @var int which life under this key it is */
    public $generation;

    /** @var string `pending`, `settled` or `lapsed` */
    public $state;

    /** @var \DateTimeImmutable */
    public $due;

    /** @var \DateTimeImmutable */
    public $createdAt;

    /** @var mixed as it was scheduled; objects are arrays */
    public $payload;

    /** @var string|null */
    public $outcome;

    /** @var \DateTimeImmutable|null */
    public $settledAt;

    /** @var \DateTimeImmutable|null */
    public $lapsedAt;

    /** @var \DateTimeImmutable|null */
    public $frozenUntil;

    /** @var array<string, mixed>|null `id`, `state`, `attempts`, `last_error`, `next_attempt_at` */
    public $delivery;

    /** @var array<int, array<string, mixed>> what happened to it and when */
    public $timeline;

    /** @param array<string, mixed> $body */
    private function __construct(array $body)
    {
        $this->queue = (string) $body['queue'];
        $this->key = (string) $body['key'];
        $this->id = (string) $body['id'];
        $this->generation = (int) $body['generation'];
        $this->state = (string) $body['state'];
        $this->due = new \DateTimeImmutable($body['due']);
        $this->createdAt = new \DateTimeImmutable($body['created_at']);
        $this->payload = Written::payload($body);
        $this->outcome = $body['outcome'] ?? null;
        $this->settledAt = Written::read($body['settled_at'] ?? null);
        $this->lapsedAt = Written::read($body['lapsed_at'] ?? null);
        $this->frozenUntil = Written::read($body['frozen_until'] ?? null);
        $this->delivery = $body['delivery'] ?? null;
        $this->timeline = $body['timeline'] ?? [];
    }

    /** @param array<string, mixed>|null $body */
    public static function read(?array $body): ?self
    {
        return $body === null || $body === [] ? null : new self($body);
    }

    /** Nothing can happen to it any more, unless it is scheduled anew: settled, done or superseded. */
    public function isOver(): bool
    {
        return $this->state === 'settled'
            || in_array($this->delivery['state'] ?? null, ['done', 'superseded'], true);
    }
}

/**
 * One lapse that somebody must act on, the same whether it came by webhook or was leased by a worker.
 *
 * It may come more than once, always under the same id: act behind a guard
 * (`UPDATE … WHERE status = 'unpaid'`), and nothing that comes twice can do harm.
 */
final class Delivery
{
    /** @var string unique for ever, the same in every attempt */
    public $id;

    /** @var string */
    public $queue;

    /** @var string */
    public $key;

    /** @var \DateTimeImmutable */
    public $due;

    /** @var \DateTimeImmutable */
    public $lapsedAt;

    /** @var int 1 for the first */
    public $attempt;

    /** @var mixed as it was scheduled; objects are arrays */
    public $payload;

    /** @var string|null of a lease: what a verdict needs */
    public $token;

    /** @var \DateTimeImmutable|null of a lease: when it runs out unless it is touched */
    public $leasedUntil;

    /** @param array<string, mixed> $body of a lease, or of a webhook */
    public function __construct(array $body)
    {
        $this->id = (string) ($body['delivery_id'] ?? $body['id']);
        $this->queue = (string) $body['queue'];
        $this->key = (string) $body['key'];
        $this->due = new \DateTimeImmutable($body['due']);
        $this->lapsedAt = new \DateTimeImmutable($body['lapsed_at']);
        $this->attempt = (int) $body['attempt'];
        $this->payload = Written::payload($body);
        $this->token = isset($body['token']) ? (string) $body['token'] : null;
        $this->leasedUntil = Written::read($body['leased_until'] ?? null);
    }
}

/**
 * The shortest way: say what shall happen, when, and what about.
 *
 *     Duly::after('30m', 'cancel_order', ['id' => 42]);
 *     Duly::settle('cancel_order', ['id' => 42], 'paid');
 *
 * What shall happen is the queue, what it is about is the payload, and the key is made from that. So the
 * same words always mean the same deadline, and nothing has to be kept to settle it.
 */
final class Duly
{
    private const LONGEST_KEY = 512;

    /** @var Client|null */
    private static $client;

    /** Speaks to this server; without it to `DULY_URL`, else to 127.0.0.1:7830. */
    public static function using(?Client $client): void
    {
        self::$client = $client;
    }

    public static function client(): Client
    {
        return self::$client = self::$client ?? new Client(getenv('DULY_URL') ?: Client::URL);
    }

    /**
     * Unless settled before, `$what` shall happen about `$about` this long from now. Said again while that
     * is pending it changes nothing, not even the due time; said again when it is over it begins anew.
     *
     * @param mixed $delay a duration: `'30m'`, seconds, or a DateInterval
     * @param array<string, mixed> $about small, and the same every time it is said: an id, not a total
     */
    public static function after($delay, string $what, array $about): Answer
    {
        $schedule = ['after' => $delay, 'payload' => $about];
        $answer = self::client()->schedule($what, self::key($about), $schedule);
        if ($answer->created || $answer->deadline === null || !$answer->deadline->isOver()) {
            return $answer;
        }
        if ($answer->repeated) {
            // Over already: an old one, or this very one, born by the attempt whose answer was lost?
            throw new NoAnswer("$what: nobody knows whether it was scheduled; an answer was lost", true);
        }
        return self::client()->schedule($what, self::key($about), ['if_exists' => 'renew'] + $schedule);
    }

    /**
     * It need not happen any more.
     *
     * @param array<string, mixed> $about
     */
    public static function settle(string $what, array $about, string $outcome): Answer
    {
        return self::client()->settle($what, self::key($about), $outcome);
    }

    /**
     * Makes it happen: works on the queue until told to stop.
     *
     * @param callable(Delivery): Verdict $act
     */
    public static function work(string $what, callable $act): void
    {
        (new Worker(self::client(), $what, $act))->run();
    }

    /**
     * The key of what it is about: `id=42`, with several fields `id=42&user=7` in the order of their names.
     * The number 42 and the text "42" are the same; one that would be too long is hashed.
     *
     * @param array<string, mixed> $about
     */
    public static function key(array $about): string
    {
        self::sort($about);
        $key = http_build_query($about, '', '&', PHP_QUERY_RFC3986);
        if ($key === '') {
            throw new \InvalidArgumentException('what it is about has no field that could name it');
        }
        return strlen($key) <= self::LONGEST_KEY ? $key : 'sha256=' . hash('sha256', $key);
    }

    /** @param array<int|string, mixed> $fields */
    private static function sort(array &$fields): void
    {
        ksort($fields, SORT_STRING);
        foreach ($fields as &$field) {
            if (is_array($field)) {
                self::sort($field);
            }
        }
    }
}

/**
 * A verified webhook request: one lapse, or many. Its methods make the body to answer with, as JSON.
 */
final class Event
{
    /** @var string of the request; for a single lapse it is the delivery's */
    public $id;

    /** @var bool answered by a result for each delivery, even if it is only one */
    public $isBatch;

    /** @var Delivery[] */
    public $deliveries;

    /** @internal */
    public function __construct(string $id, string $body)
    {
        $event = json_decode($body, true, 512, JSON_BIGINT_AS_STRING);
        $type = is_array($event) ? $event['type'] ?? null : null;
        if ($type !== 'deadline.lapsed' && $type !== 'deadline.lapsed.batch') {
            throw new Forged('the request is signed but not about a lapse');
        }
        $this->id = $id;
        $this->isBatch = $type === 'deadline.lapsed.batch';
        $this->deliveries = array_map(static function (array $lapse): Delivery {
            return new Delivery($lapse);
        }, $this->isBatch ? $event['data'] : [$event['data']]);
    }

    /**
     * Lets a handler decide each delivery.
     *
     * @param callable(Delivery): Verdict $act
     */
    public function each(callable $act): string
    {
        $verdicts = [];
        foreach ($this->deliveries as $delivery) {
            $verdicts[$delivery->id] = Verdict::by($act, $delivery);
        }
        return $this->answer($verdicts);
    }

    /**
     * Answers by delivery id. One that is left out comes again.
     *
     * @param array<string, Verdict> $verdicts
     */
    public function answer(array $verdicts): string
    {
        $results = [];
        foreach ($this->deliveries as $delivery) {
            if (isset($verdicts[$delivery->id])) {
                $results[] = ['delivery_id' => $delivery->id] + $verdicts[$delivery->id]->fields;
            }
        }
        if ($this->isBatch) {
            return Written::json(['results' => $results]);
        }
        $only = $results[0] ?? Verdict::retry('no verdict')->fields;
        unset($only['delivery_id']);
        return Written::json($only);
    }

    /** All of it was acted on. */
    public function done(): string
    {
        return $this->answer($this->all(Verdict::done()));
    }

    /** None of it was needed any more. */
    public function superseded(): string
    {
        return $this->answer($this->all(Verdict::superseded()));
    }

    /** @return array<string, Verdict> */
    private function all(Verdict $verdict): array
    {
        return array_fill_keys(array_column($this->deliveries, 'id'), $verdict);
    }
}

/**
 * A webhook request that is not from your Duly, or too old, or not whole. Answer 401 and do nothing.
 */
final class Forged extends \RuntimeException
{
}

/**
 * Requests over one kept connection, with timeouts that hold, and repeated where that is harmless.
 *
 * It speaks HTTP/1.1 over PHP's own streams, so it needs no extension, and it knows what cURL does not
 * tell: whether a request can have been heard at all. What was surely not heard is always tried again;
 * anything else only if the caller says that hearing it twice does nothing more than hearing it once.
 *
 * The connection is never kept from one page to the next (`pfsockopen`): a page that is cut off in the
 * middle would leave its answer to the next one.
 *
 * @internal
 */
final class Http
{
    private const FIRST_PAUSE = 0.05;
    private const LONGEST_PAUSE = 1.0;
    private const LONGEST_HEAD = 65536;

    /** @var string where to connect */
    private $address;

    /** @var string what stands before every path */
    private $prefix;

    /** @var string headers of every request, each with its end of line */
    private $headers;

    /** @var array<string, float> in seconds: `connect`, `answer`, `budget` */
    private $seconds = ['connect' => 1.0, 'answer' => 5.0, 'budget' => 8.0];

    /** @var resource|null an idle connection */
    private $idle;

    /** @var int the process that opened it: a forked child must not speak on it */
    private $process = 0;

    /** @param array<string, mixed> $how `connect`, `answer`, `budget` in seconds; `headers` */
    public function __construct(string $url, array $how)
    {
        $headers = $how['headers'] ?? [];
        unset($how['headers']);
        $stranger = array_keys(array_diff_key($how, $this->seconds));
        if ($stranger !== []) {
            throw new \InvalidArgumentException('unknown option: ' . implode(', ', $stranger));
        }
        $this->seconds = array_map('floatval', $how + $this->seconds);
        $parts = parse_url($url);
        $scheme = $parts['scheme'] ?? '';
        if (!isset($parts['host']) || !in_array($scheme, ['http', 'https'], true)) {
            throw new \InvalidArgumentException("\"$url\" is not a URL; write http://127.0.0.1:7830");
        }
        $host = $parts['host'] . (isset($parts['port']) ? ":{$parts['port']}" : '');
        $port = $parts['port'] ?? ($scheme === 'https' ? 443 : 80);
        $this->address = ($scheme === 'https' ? 'ssl' : 'tcp') . "://{$parts['host']}:$port";
        $this->prefix = rtrim($parts['path'] ?? '', '/');
        $this->headers = '';
        $headers += ['Host' => $host, 'User-Agent' => 'duly-php', 'Content-Type' => 'application/json'];
        foreach ($headers as $name => $value) {
            if (preg_match('/[\r\n]/', $name . $value) === 1) {
                throw new \InvalidArgumentException("the header $name has more than one line");
            }
            $this->headers .= "$name: $value\r\n";
        }
    }

    /**
     * Asks until there is an answer, or the time is over.
     *
     * @param float $wait how long the server is asked to hold the answer back, in seconds
     * @return array{status: int, headers: array<string, string>, body: string, repeated: bool}
     *         `repeated`: an earlier attempt may have been carried out
     * @throws NoAnswer
     */
    public function ask(string $method, string $path, string $body, bool $repeatable, float $wait = 0.0): array
    {
        $end = self::now() + $this->seconds['budget'] + $wait;
        $pause = self::FIRST_PAUSE;
        $repeated = false;
        while (true) {
            $rest = $pause * random_int(500, 1000) / 1000;
            $pause = min($pause * 2, self::LONGEST_PAUSE);
            try {
                $limit = min($end, self::now() + $this->seconds['answer'] + $wait);
                $reply = $this->exchange($method, $path, $body, $limit) + ['repeated' => $repeated];
                $rest = max($rest, self::retryAfter($reply['headers']['retry-after'] ?? ''));
                if ($reply['status'] < 500 || !$repeatable || self::now() + $rest >= $end) {
                    return $reply;
                }
                $repeated = true;
            } catch (NoAnswer $failure) {
                $mayRepeat = $repeatable || !$failure->unknown;
                $repeated = $repeated || $failure->unknown;
                $failure->unknown = $repeated;
                if (!$mayRepeat || self::now() + $rest >= $end) {
                    throw $failure;
                }
            }
            usleep((int) ($rest * 1e6));
        }
    }

    /** @return array{status: int, headers: array<string, string>, body: string} */
    private function exchange(string $method, string $path, string $body, float $end): array
    {
        $stream = $this->connection($end);
        $request = "$method {$this->prefix}$path HTTP/1.1\r\n{$this->headers}"
            . 'Content-Length: ' . strlen($body) . "\r\n\r\n$body";
        for ($sent = 0; $sent < strlen($request); $sent += $wrote) {
            self::limit($stream, $end);
            $wrote = @fwrite($stream, $sent === 0 ? $request : substr($request, $sent));
            if ($wrote === false || $wrote === 0) {
                // Less than the whole request is no request: it cannot have been carried out.
                throw new NoAnswer("{$this->address} does not take the request", false);
            }
        }
        $buffer = '';
        do {
            while (($length = strpos($buffer, "\r\n\r\n")) === false) {
                $more = strlen($buffer) > self::LONGEST_HEAD ? '' : $this->read($stream, $end);
                if ($more === '') {
                    throw new NoAnswer("{$this->address} closed the connection without an answer", true);
                }
                $buffer .= $more;
            }
            $lines = explode("\r\n", substr($buffer, 0, $length));
            $buffer = substr($buffer, $length + 4);
            if (preg_match('~^HTTP/1\.[01] (\d{3})~', $lines[0], $match) !== 1) {
                throw new NoAnswer("{$this->address} does not speak HTTP", true);
            }
            $status = (int) $match[1];
        } while ($status < 200);
        $headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = trim($value);
        }
        [$body, $ended] = $this->body($stream, $buffer, $status, $headers, $end);
        $closes = stripos($headers['connection'] ?? '', 'close') !== false || $lines[0][7] === '0';
        if ($ended && !$closes) {
            [$this->idle, $this->process] = [$stream, (int) getmypid()];
        }
        return ['status' => $status, 'headers' => $headers, 'body' => $body];
    }

    /** @return resource a connection that is taken, so that nobody else speaks on it meanwhile */
    private function connection(float $end)
    {
        [$stream, $this->idle] = [$this->idle, null];
        if ($stream !== null && $this->process === getmypid()) {
            [$readable, $none] = [[$stream], null];
            // Nothing was asked: what can be read now is its end.
            if (@stream_select($readable, $none, $none, 0, 0) === 0) {
                return $stream;
            }
        }
        $context = stream_context_create(['socket' => ['tcp_nodelay' => true]]);
        $patience = max(0.001, min($this->seconds['connect'], $end - self::now()));
        $warning = '';
        set_error_handler(static function (int $level, string $message) use (&$warning): bool {
            // The first says most: of a certificate that is not trusted nothing else does.
            $warning = $warning === '' ? $message : $warning;
            return true;
        });
        try {
            $stream = stream_socket_client($this->address, $number, $why, $patience, STREAM_CLIENT_CONNECT, $context);
        } finally {
            restore_error_handler();
        }
        if ($stream === false) {
            $why = (string) $why === '' ? $warning : $why;
            throw new NoAnswer("{$this->address} cannot be reached: $why", false);
        }
        return $stream;
    }

    /**
     * @param resource $stream
     * @param array<string, string> $headers
     * @return array{0: string, 1: bool} the body, and whether the connection is at the end of the answer
     */
    private function body($stream, string $buffer, int $status, array $headers, float $end): array
    {
        if ($status === 204 || $status === 304) {
            return ['', $buffer === ''];
        }
        if (stripos($headers['transfer-encoding'] ?? '', 'chunked') !== false) {
            return $this->chunks($stream, $buffer, $end);
        }
        $length = isset($headers['content-length']) ? (int) $headers['content-length'] : null;
        while ($length === null || strlen($buffer) < $length) {
            $more = $this->read($stream, $end);
            if ($more === '' && $length === null) {
                return [$buffer, false];
            }
            if ($more === '') {
                throw new NoAnswer("{$this->address} closed the connection in the middle of its answer", true);
            }
            $buffer .= $more;
        }
        return [substr($buffer, 0, $length), strlen($buffer) === $length];
    }

    /**
     * @param resource $stream
     * @return array{0: string, 1: bool}
     */
    private function chunks($stream, string $buffer, float $end): array
    {
        $body = '';
        $need = function (int $bytes) use ($stream, &$buffer, $end): void {
            while (strlen($buffer) < $bytes) {
                $more = $this->read($stream, $end);
                if ($more === '') {
                    throw new NoAnswer("{$this->address} closed the connection in the middle of its answer", true);
                }
                $buffer .= $more;
            }
        };
        while (true) {
            while (($line = strpos($buffer, "\r\n")) === false) {
                $need(strlen($buffer) + 1);
            }
            $size = (int) hexdec(preg_replace('/[^0-9a-f].*/is', '', substr($buffer, 0, $line)));
            $need($line + 2 + $size + 2);
            if ($size === 0) {
                // Trailers would follow; then the connection is not kept.
                return [$body, substr($buffer, $line) === "\r\n\r\n"];
            }
            $body .= substr($buffer, $line + 2, $size);
            $buffer = substr($buffer, $line + 2 + $size + 2);
        }
    }

    /**
     * @param resource $stream
     * @return string what has come; empty at the end of the stream
     */
    private function read($stream, float $end): string
    {
        do {
            self::limit($stream, $end);
            $more = @fread($stream, 65536);
            if (is_string($more) && $more !== '') {
                return $more;
            }
            if (stream_get_meta_data($stream)['timed_out']) {
                throw new NoAnswer("{$this->address} does not answer in time", true);
            }
        } while ($more !== false && !feof($stream));
        return '';
    }

    /**
     * The next step on a stream may take what is left of the time.
     *
     * @param resource $stream
     */
    private static function limit($stream, float $end): void
    {
        $left = max(0.001, $end - self::now());
        stream_set_timeout($stream, (int) $left, (int) (fmod($left, 1) * 1e6));
    }

    /** What `Retry-After` asks for, in seconds; a date is as good as a number. */
    private static function retryAfter(string $header): float
    {
        if ($header === '') {
            return 0.0;
        }
        return (float) (is_numeric($header) ? $header : max(0, (int) strtotime($header) - time()));
    }

    /** Seconds of a clock that nobody sets. */
    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}

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

/**
 * How an attempt at a delivery ended.
 */
final class Verdict
{
    /** @var array<string, mixed> as the server reads it */
    public $fields;

    /** @param array<string, mixed> $fields */
    private function __construct(array $fields)
    {
        $this->fields = $fields;
    }

    /** You acted. */
    public static function done(): self
    {
        return new self(['verdict' => 'done']);
    }

    /** It was no longer needed: already paid. */
    public static function superseded(): self
    {
        return new self(['verdict' => 'superseded']);
    }

    /** It failed and shall be tried again. */
    public static function retry(string $error): self
    {
        return new self(['verdict' => 'retry', 'error' => self::text($error)]);
    }

    /** It failed for good; it stays until somebody revives or erases it. */
    public static function dead(string $error): self
    {
        return new self(['verdict' => 'dead', 'error' => self::text($error)]);
    }

    /** An error can be any bytes; no worker shall end because of them. */
    private static function text(string $error): string
    {
        return json_decode((string) json_encode($error, JSON_INVALID_UTF8_SUBSTITUTE));
    }

    /**
     * What a handler says about a delivery. One that throws, or says nothing, is a retry: silence is
     * not taken for success. Only the kind of the error leaves the shop; its words go to the log.
     *
     * @param callable(Delivery): Verdict $act
     * @internal
     */
    public static function by(callable $act, Delivery $delivery): self
    {
        try {
            $said = $act($delivery);
            if (!$said instanceof self) {
                throw new \UnexpectedValueException('the handler must return a Duly\Verdict');
            }
            return $said;
        } catch (\Throwable $error) {
            error_log("Duly: delivery {$delivery->id} ({$delivery->queue}/{$delivery->key}) failed: $error");
            return self::retry(get_class($error) . '; see the log of the shop');
        }
    }
}

/**
 * The receiving end of a webhook, signed as Standard Webhooks 1.0.0 has it.
 */
final class Webhook
{
    /** How far the sender's clock may be off, either way, in seconds. */
    public const TOLERANCE = 300;

    /**
     * A whole receiver: verifies the request of this page, lets `$act` decide each delivery, answers.
     *
     * @param string|string[] $secrets `whsec_…`; several while one is being replaced
     * @param callable(Delivery): Verdict $act
     */
    public static function receive($secrets, callable $act): void
    {
        // A warning in front of the JSON would make the answer unreadable, and the delivery come again.
        ob_start();
        try {
            $event = self::verify((string) file_get_contents('php://input'), $_SERVER, $secrets);
            $answer = $event->each($act);
            $status = 200;
        } catch (Forged $forged) {
            error_log('Duly: ' . $forged->getMessage());
            $answer = '{"error":"not signed by Duly"}';
            $status = 401;
        } finally {
            ob_end_clean();
        }
        http_response_code($status);
        header('Content-Type: application/json');
        echo $answer;
    }

    /**
     * The event of a request that is really from your Duly. Everybody else's is refused.
     *
     * @param string $body as it came, byte for byte
     * @param array<string, mixed> $headers `$_SERVER`, `getallheaders()`, or `$request->getHeaders()`
     * @param string|string[] $secrets
     * @throws Forged
     */
    public static function verify(string $body, array $headers, $secrets): Event
    {
        return new Event(self::check($body, $headers, $secrets), $body);
    }

    /**
     * Verifies the signature alone, also of another sender that signs by Standard Webhooks, and gives
     * the `webhook-id`.
     *
     * @param array<string, mixed> $headers
     * @param string|string[] $secrets
     * @param int|null $now seconds since 1970, for tests
     * @throws Forged
     */
    public static function check(
        string $body,
        array $headers,
        $secrets,
        int $tolerance = self::TOLERANCE,
        ?int $now = null
    ): string {
        $secrets = (array) $secrets;
        if ($secrets === []) {
            throw new \InvalidArgumentException('without a secret nothing can be verified');
        }
        $named = self::named($headers);
        $id = $named['webhook-id'] ?? '';
        $timestamp = $named['webhook-timestamp'] ?? '';
        if ($id === '' || preg_match('/^[0-9]{1,15}$/D', $timestamp) !== 1) {
            throw new Forged('the request is not signed');
        }
        if (abs(($now ?? time()) - (int) $timestamp) > $tolerance) {
            throw new Forged("the request was signed at $timestamp, which is too long ago or yet to come");
        }
        $given = explode(' ', $named['webhook-signature'] ?? '');
        foreach ($secrets as $secret) {
            $right = self::sign($body, $id, (int) $timestamp, $secret);
            foreach ($given as $signature) {
                if (hash_equals($right, $signature)) {
                    return $id;
                }
            }
        }
        throw new Forged('no signature of the request is by a secret that is known here');
    }

    /** The signature of a request; also for tests of your own receiver. */
    public static function sign(string $body, string $id, int $timestamp, string $secret): string
    {
        return 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", self::key($secret), true));
    }

    /** The bytes of a secret. Its text is never repeated in a message. */
    private static function key(string $secret): string
    {
        $key = base64_decode(strncmp($secret, 'whsec_', 6) === 0 ? substr($secret, 6) : $secret, true);
        if ($key === false || $key === '') {
            throw new \InvalidArgumentException('a webhook secret is "whsec_" and base64');
        }
        return $key;
    }

    /**
     * Headers by lower-case name, from whichever form a framework has them in.
     *
     * @param array<string, mixed> $headers
     * @return array<string, string>
     */
    private static function named(array $headers): array
    {
        $named = [];
        foreach ($headers as $name => $value) {
            $name = preg_replace('/^http-/', '', strtr(strtolower((string) $name), '_', '-'));
            if (strncmp($name, 'webhook-', 8) === 0) {
                $named[$name] = implode(' ', (array) $value);
            }
        }
        return $named;
    }
}

/**
 * A worker of a `pull` queue: leases, acts, answers, until it is told to stop.
 *
 * It leases one delivery at a time, so that no lease runs out while others are worked on. It ends
 * itself on SIGTERM and SIGINT where PHP has pcntl, after what it is doing; an idle one that waits
 * for a delivery notices when that wait is over.
 */
final class Worker
{
    private const LONGEST_PAUSE = 30;

    /** @var Client */
    private $client;

    /** @var string */
    private $queue;

    /** @var callable(Delivery): Verdict */
    private $act;

    /** @var array<string, mixed> */
    private $how;

    /** @var bool */
    private $goesOn = true;

    /**
     * @param callable(Delivery): Verdict $act
     * @param array<string, mixed> $how `max` (1), `wait` (`20s`), `lease` (`30s`)
     */
    public function __construct(Client $client, string $queue, callable $act, array $how = [])
    {
        $this->client = $client;
        $this->queue = $queue;
        $this->act = $act;
        $this->how = $how + ['max' => 1, 'wait' => '20s', 'lease' => '30s'];
    }

    /** Works until it is stopped. While the server is away it waits, ever longer. */
    public function run(): void
    {
        if (function_exists('pcntl_async_signals')) {
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, [$this, 'stop']);
            pcntl_signal(SIGINT, [$this, 'stop']);
        }
        $pause = 1;
        while ($this->goesOn) {
            try {
                $this->once();
                $pause = 1;
            } catch (Problem $problem) {
                $mayPass = !$problem instanceof Refused || $problem->status >= 500
                    || $problem->errorCode === 'unknown_queue';
                if (!$mayPass) {
                    throw $problem;
                }
                error_log('Duly: the worker waits: ' . $problem->getMessage());
                sleep($pause);
                $pause = min($pause * 2, self::LONGEST_PAUSE);
            }
        }
    }

    /** Leases once and acts on what came; says how many there were. */
    public function once(): int
    {
        $deliveries = $this->client->lease($this->queue, $this->how);
        foreach ($deliveries as $delivery) {
            $answer = $this->client->verdict($delivery, Verdict::by($this->act, $delivery));
            if (!$answer->ok) {
                // Most often it took longer than its lease, and comes again.
                error_log("Duly: the verdict on delivery {$delivery->id} came too late: {$answer->result}");
            }
        }
        return count($deliveries);
    }

    /** Ends `run` after what is under way. */
    public function stop(): void
    {
        $this->goesOn = false;
    }
}

/**
 * Durations, instants and payloads between PHP and the server's JSON. What the server can refuse with
 * better words (`"30"`, a due time in seconds) is passed on as it is.
 *
 * @internal
 */
final class Written
{
    private const UNITS = ['d' => 86400, 'h' => 3600, 'm' => 60, 's' => 1, 'ms' => 0.001];

    /**
     * The fields of a request, with PHP's own instants and intervals written as the server reads them.
     *
     * @param array<string, mixed> $fields
     */
    public static function json(array $fields): string
    {
        $payload = array_key_exists('payload', $fields) ? ['payload' => $fields['payload']] : [];
        array_walk_recursive($fields, static function (&$value): void {
            if ($value instanceof \DateTimeInterface) {
                $value = $value->format('Y-m-d\TH:i:s.vP');
            } elseif ($value instanceof \DateInterval) {
                $value = self::duration($value);
            }
        });
        return json_encode(
            (object) ($payload + $fields),
            JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION
        );
    }

    /** An interval in milliseconds; one with months has no length of its own and is not guessed. */
    private static function duration(\DateInterval $interval): string
    {
        // PHP knows the days of an interval that came from diff() only.
        if ($interval->days === false && ($interval->y !== 0 || $interval->m !== 0)) {
            throw new \InvalidArgumentException('an interval with months or years varies in length; use days, or `due`');
        }
        $days = $interval->days === false ? $interval->d : $interval->days;
        $seconds = (($days * 24 + $interval->h) * 60 + $interval->i) * 60 + $interval->s;
        $milliseconds = (int) round(($seconds + $interval->f) * 1000);
        return ($interval->invert === 1 ? '-' : '') . $milliseconds . 'ms';
    }

    /**
     * How long a duration is in seconds, or null if only the server can tell.
     *
     * @param mixed $duration
     */
    public static function seconds($duration): ?float
    {
        if (is_int($duration)) {
            return (float) $duration;
        }
        if ($duration instanceof \DateInterval) {
            $duration = self::duration($duration);
        }
        if (!is_string($duration) || preg_match('/^(\d+(d|h|ms|m|s))+$/D', $duration) !== 1) {
            return null;
        }
        preg_match_all('/(\d+)(d|h|ms|m|s)/', $duration, $parts, PREG_SET_ORDER);
        return (float) array_sum(array_map(static function (array $part): float {
            return $part[1] * self::UNITS[$part[2]];
        }, $parts));
    }

    public static function read(?string $instant): ?\DateTimeImmutable
    {
        return $instant === null ? null : new \DateTimeImmutable($instant);
    }

    /**
     * @param array<string, mixed> $body
     * @return mixed
     */
    public static function payload(array $body)
    {
        return isset($body['payload_base64']) ? base64_decode($body['payload_base64'], true) : $body['payload'] ?? null;
    }
}
