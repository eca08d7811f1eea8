<?php
// wp-content/plugins/duly/duly-lapsed.php, with duly.php (clients/php) beside it and
// DULY_WEBHOOK_SECRET in wp-config.php.
// Plugin Name: Duly: unpaid orders are cancelled in time
//
// The webhook of woocommerce.toml. The watch finds the orders, so nothing here schedules or settles;
// an order is cancelled as WooCommerce itself would, so that stock and coupons go back and mails go out.

require_once __DIR__ . '/duly.php';

add_action('rest_api_init', static function (): void {
    register_rest_route('duly/v1', '/lapsed', [
        'methods' => 'POST',
        'permission_callback' => '__return_true', // the signature is the permission
        'callback' => static function (WP_REST_Request $request): WP_REST_Response {
            try {
                $event = Duly\Webhook::verify($request->get_body(), $request->get_headers(), DULY_WEBHOOK_SECRET);
            } catch (Duly\Forged $forged) {
                return new WP_REST_Response(null, 401);
            }
            return new WP_REST_Response(json_decode($event->each('duly_cancel'), true));
        },
    ]);
});

function duly_cancel(Duly\Delivery $delivery): Duly\Verdict
{
    $order = wc_get_order((int) $delivery->key);
    // The same lapse may come twice: what it has done is done.
    if ($order && $order->get_meta('_duly_delivery') === $delivery->id && $order->has_status('cancelled')) {
        return Duly\Verdict::done();
    }
    if (!$order || !$order->has_status('pending')) {
        return Duly\Verdict::superseded();
    }
    $order->update_meta_data('_duly_delivery', $delivery->id);
    // WooCommerce does not throw: what it could not save, it says.
    $isCancelled = $order->update_status('cancelled', 'Not paid in time.');
    return $isCancelled ? Duly\Verdict::done() : Duly\Verdict::retry('WooCommerce could not save it');
}
