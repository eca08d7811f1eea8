//! The `OpenAPI` document: generated from the routes, completed here.
//!
//! What every call may answer (a body that cannot be read, a foreign host, a server that stops) is
//! said once, here, and laid over all operations; a route says only what is its own.

use std::collections::BTreeMap;

use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};

use super::list::{DeliveryText, StateText};
use super::problem::{MEDIA_TYPE, ProblemView};
use crate::units::WrittenInstant;

/// The document before the routes are added.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Duly",
        description = "The deadline server: every order is paid, or duly cancelled.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "deadlines", description = "Schedule, settle and look at deadlines"),
        (name = "queues", description = "Policies, pause, shift"),
        (name = "deliveries", description = "For workers: lease, verdict, touch"),
        (name = "events", description = "All that happens, as it happens"),
        (name = "links", description = "For browsers of customers: one deadline, read-only"),
        (name = "watches", description = "Table watches: how they are, what they have observed"),
        (name = "stats", description = "Figures and forecast"),
        (name = "clock", description = "The clock that decides"),
        (name = "health", description = "For supervisors and Prometheus"),
    ),
    components(schemas(ProblemView, StateText, DeliveryText, WrittenInstant))
)]
pub(super) struct Document;

/// What every call may answer.
const EVERY_CALL: [(&str, &str); 3] = [
    ("403", "`foreign_host`, `foreign_origin`"),
    ("431", "`header_too_large`"),
    ("503", "`stopping`, `storage_low`, `storage_full`, `queue_full`"),
];
/// What every call may answer that reads an address or a body.
const READING: (&str, &str) = ("400", "The request cannot be read; the code says why");
/// What every call may answer that reads a body.
const READING_A_BODY: [(&str, &str); 2] =
    [("408", "`body_timeout`"), ("413", "`body_too_large`, `payload_too_large`, `batch_too_long`")];

/// Lays over all operations what they have in common.
pub(super) fn complete(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            let mut common = EVERY_CALL.to_vec();
            if path.starts_with("/v1/") {
                common.push(READING);
            }
            if operation.request_body.is_some() {
                common.extend(READING_A_BODY);
            }
            let responses = &mut operation.responses.responses;
            for (status, description) in common {
                responses.entry(status.to_owned()).or_insert_with(|| problem(description));
            }
            say_problem(responses);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

fn problem(description: &str) -> RefOr<utoipa::openapi::Response> {
    ResponseBuilder::new().description(description).build().into()
}

/// Every error is a problem, whatever route says it.
fn say_problem(responses: &mut BTreeMap<String, RefOr<utoipa::openapi::Response>>) {
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        if status.as_str() >= "400" {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert(MEDIA_TYPE.to_owned(), content.into());
        }
    }
}
