<?php
// The command of woocommerce.toml, in place of its webhook: `wp eval-file` runs it on the shop's own
// machine, as the shop's own user, for one order. There is no plugin, no secret, and no request that
// anybody else could send.
//
// An order is cancelled as WooCommerce itself would, so that stock and coupons go back and mails go out.

$delivery = getenv('DULY_DELIVERY_ID');
$order = wc_get_order((int) getenv('DULY_KEY'));
// The same lapse may come twice: what it has done is done.
if ($order && $order->get_meta('_duly_delivery') === $delivery && $order->has_status('cancelled')) {
    exit(0);
}
if (!$order || !$order->has_status('pending')) {
    exit(99); // paid meanwhile, or gone
}
$order->update_meta_data('_duly_delivery', $delivery);
exit($order->update_status('cancelled', 'Not paid in time.') ? 0 : 75); // 75: try again
