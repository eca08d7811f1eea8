<?php
// app/code/Duly/Orders/Controller/Lapsed/Index.php, with duly.php (clients/php) loaded by Composer, the
// front name `duly` in etc/frontend/routes.xml, and the secret under duly/webhook_secret in env.php.
//
// The webhook of magento.toml. Magento's own service cancels, so that reservations, coupons and
// observers are served; it does nothing to an order that cannot be cancelled any more.

namespace Duly\Orders\Controller\Lapsed;

use Duly\Delivery;
use Duly\Forged;
use Duly\Verdict;
use Duly\Webhook;
use Magento\Framework\App\Action\HttpPostActionInterface;
use Magento\Framework\App\CsrfAwareActionInterface;
use Magento\Framework\App\DeploymentConfig;
use Magento\Framework\App\Request\Http;
use Magento\Framework\App\Request\InvalidRequestException;
use Magento\Framework\App\RequestInterface;
use Magento\Framework\Controller\Result\RawFactory;
use Magento\Framework\Exception\NoSuchEntityException;
use Magento\Sales\Api\OrderManagementInterface;
use Magento\Sales\Api\OrderRepositoryInterface;

final class Index implements HttpPostActionInterface, CsrfAwareActionInterface
{
    private Http $request;
    private RawFactory $results;
    private DeploymentConfig $config;
    private OrderRepositoryInterface $orders;
    private OrderManagementInterface $management;

    public function __construct(
        Http $request,
        RawFactory $results,
        DeploymentConfig $config,
        OrderRepositoryInterface $orders,
        OrderManagementInterface $management
    ) {
        $this->request = $request;
        $this->results = $results;
        $this->config = $config;
        $this->orders = $orders;
        $this->management = $management;
    }

    public function execute()
    {
        $result = $this->results->create();
        $headers = $this->request->getHeaders()->toArray();
        try {
            $secret = $this->config->get('duly/webhook_secret');
            $event = Webhook::verify($this->request->getContent(), $headers, $secret);
        } catch (Forged $forged) {
            return $result->setHttpResponseCode(401);
        }
        $result->setHeader('Content-Type', 'application/json', true);
        return $result->setContents($event->each(fn (Delivery $delivery) => $this->cancel($delivery)));
    }

    private function cancel(Delivery $delivery): Verdict
    {
        try {
            $order = $this->orders->get((int) $delivery->key);
        } catch (NoSuchEntityException $gone) {
            return Verdict::superseded();
        }
        $mark = 'Duly: not paid in time (' . $delivery->id . ')';
        $isMarked = false;
        foreach ($order->getStatusHistories() ?? [] as $entry) {
            $isMarked = $isMarked || $entry->getComment() === $mark;
        }
        // The same lapse may come twice: what it has done is done.
        if ($isMarked && $order->getState() === 'canceled') {
            return Verdict::done();
        }
        if ($order->getStatus() !== 'pending_payment') {
            return Verdict::superseded();
        }
        if (!$isMarked) {
            // First, so that a second attempt knows whose cancellation it finds.
            $order->addCommentToStatusHistory($mark);
            $this->orders->save($order);
        }
        return $this->management->cancel($order->getEntityId()) ? Verdict::done() : Verdict::superseded();
    }

    // The signature is the permission; there is no form and no session.
    public function createCsrfValidationException(RequestInterface $request): ?InvalidRequestException
    {
        return null;
    }

    public function validateForCsrf(RequestInterface $request): ?bool
    {
        return true;
    }
}
