<?php

declare(strict_types=1);

namespace Duly;

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
