<?php
// The command of magento.toml, in place of its webhook: run on the shop's own machine, as the shop's
// own user, for one order. There is no module, no secret, and no request that anybody else could send.
//
// It begins as Magento's own cron does, and Magento's own service cancels, so that reservations,
// coupons and observers are served.

use Magento\Framework\App\Area;
use Magento\Framework\App\Bootstrap;
use Magento\Framework\App\State;
use Magento\Framework\Exception\NoSuchEntityException;
use Magento\Framework\ObjectManager\ConfigLoaderInterface;
use Magento\Sales\Api\OrderManagementInterface;
use Magento\Sales\Api\OrderRepositoryInterface;

require $argv[1] . '/app/bootstrap.php';

$objects = Bootstrap::create(BP, $_SERVER)->getObjectManager();
$objects->get(State::class)->setAreaCode(Area::AREA_CRONTAB);
$objects->configure($objects->get(ConfigLoaderInterface::class)->load(Area::AREA_CRONTAB));
$orders = $objects->get(OrderRepositoryInterface::class);

try {
    $order = $orders->get((int) getenv('DULY_KEY'));
} catch (NoSuchEntityException $gone) {
    exit(99);
}
$mark = 'Duly: not paid in time (' . getenv('DULY_DELIVERY_ID') . ')';
$isMarked = false;
foreach ($order->getStatusHistories() ?? [] as $entry) {
    $isMarked = $isMarked || $entry->getComment() === $mark;
}
// The same lapse may come twice: what it has done is done.
if ($isMarked && $order->getState() === 'canceled') {
    exit(0);
}
if ($order->getStatus() !== 'pending_payment') {
    exit(99); // paid meanwhile, or cancelled by somebody else
}
if (!$isMarked) {
    // First, so that a second attempt knows whose cancellation it finds.
    $order->addCommentToStatusHistory($mark);
    $orders->save($order);
}
exit($objects->get(OrderManagementInterface::class)->cancel($order->getEntityId()) ? 0 : 99);
