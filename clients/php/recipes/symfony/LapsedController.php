<?php

declare(strict_types=1);

use Duly\Delivery;
use Duly\Forged;
use Duly\Verdict;
use Duly\Webhook;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;

/**
 * Duly's webhook in Symfony. Route it with POST, outside every firewall that redirects to a login.
 */
final class LapsedController
{
    /** @var string[] the current one first */
    private $secrets;

    /** @var callable(Delivery): Verdict */
    private $timeIsUp;

    /** @param string[] $secrets */
    public function __construct(array $secrets, callable $timeIsUp)
    {
        $this->secrets = $secrets;
        $this->timeIsUp = $timeIsUp;
    }

    public function __invoke(Request $request): Response
    {
        try {
            $event = Webhook::verify($request->getContent(), $request->headers->all(), $this->secrets);
        } catch (Forged $forged) {
            return new Response('', Response::HTTP_UNAUTHORIZED);
        }
        return new Response($event->each($this->timeIsUp), Response::HTTP_OK, ['Content-Type' => 'application/json']);
    }
}
