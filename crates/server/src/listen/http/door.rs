//! What every request passes on its way in and out, whatever it asks for.
//!
//! It is let through or not (the guard), it is heard out before it is answered, and an error leaves
//! in the form that all errors have. This is one function around the router and not a layer for each
//! of them: every layer of the framework packs the request, the rest of its way and the answer into
//! boxes of their own, which costs more than all that is decided here.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tower_service::Service as _;

use super::guard::Check;
use super::hear::hear_out;
use super::problem::whole;

/// From where a connection comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// The way in to a router.
#[derive(Clone)]
pub(super) struct Door {
    router: axum::Router,
    check: Check,
}

impl Door {
    pub(super) fn new(router: axum::Router, check: Check) -> Door {
        Door { router, check }
    }

    /// Takes a request in and gives the answer to it.
    pub(super) async fn pass(
        self,
        request: hyper::Request<Incoming>,
        peer: Peer,
    ) -> Result<Response, Infallible> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        Ok(hear_out(request, |request| self.answer(request)).await)
    }

    async fn answer(mut self, request: Request) -> Response {
        if let Err(problem) = (self.check)(&request) {
            return problem.into_response();
        }
        match self.router.call(request).await {
            Ok(response) => whole(response),
            Err(never) => match never {},
        }
    }
}
