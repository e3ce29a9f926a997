//! Calls outside in native tests: answers are scripted, requests are recorded, and errors become the right failures.
#![expect(clippy::needless_pass_by_value, reason = "handlers own their event")]

use std::time::Duration;

use nerve_sdk::Failure;
use nerve_sdk::http::{HttpError, Response};
use nerve_sdk::prelude::*;
use nerve_sdk::testing::{Ending, Host};
use serde_json::json;

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.placed", key = "order")]
struct OrderPlaced {
    order: u64,
}

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(type = "order.charged", key = "order")]
struct OrderCharged {
    order: u64,
    charge: String,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
}

struct Payments;

#[plugin(
    name = "payments",
    emits(OrderCharged),
    asks(http("POST pay.example:443", "GET pay.example:443"))
)]
impl Payments {
    #[on]
    fn placed(ctx: &mut Context<Self>, event: Delivered<OrderPlaced>) -> Result<(), Failure> {
        let request = ctx
            .http()
            .post("https://pay.example/charges")
            .header("x-shop", "1");
        let answer = request
            .json(&json!({ "order": event.order }))?
            .timeout(Duration::from_secs(2))
            .send()?;
        let charge: Charge = answer.success()?.json()?;
        ctx.emit(&OrderCharged {
            order: event.order,
            charge: charge.id,
        })?;
        Ok(())
    }
}

fn placed(answer: Result<Response, HttpError>) -> nerve_sdk::testing::Outcome {
    let mut host = Host::<Payments>::new();
    host.answer(answer);
    host.deliver(&OrderPlaced { order: 7 })
}

#[test]
fn a_scripted_answer_is_read_and_the_request_is_recorded() {
    let outcome = placed(Ok(Response::new(200).with_body(r#"{"id":"c1"}"#)));
    let emitted: Vec<OrderCharged> = outcome.expect_done().emitted();
    assert_eq!(
        emitted,
        [OrderCharged {
            order: 7,
            charge: "c1".into()
        }]
    );
    let request = &outcome.requests[0];
    assert_eq!(
        (request.method, &*request.url),
        ("POST", "https://pay.example/charges")
    );
    assert_eq!(request.body, br#"{"order":7}"#);
    assert_eq!(request.timeout, Some(Duration::from_secs(2)));
    let headers: Vec<&str> = request.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(headers, ["x-shop", "content-type"]);
}

#[test]
fn statuses_and_errors_become_retries_and_rejects() {
    let busy = Response::new(503).with_header("Retry-After", "3");
    for (answer, failure) in [
        (
            Ok(busy),
            Failure::retry_after(Duration::from_secs(3), "the answer has status 503"),
        ),
        (
            Ok(Response::new(429)),
            Failure::retry("the answer has status 429"),
        ),
        (
            Ok(Response::new(402)),
            Failure::reject("the answer has status 402"),
        ),
        (
            Err(HttpError::Timeout("late".into())),
            Failure::retry("http: late"),
        ),
        (Err(HttpError::Denied("no".into())), Failure::retry("http: no")),
    ] {
        assert_eq!(placed(answer).expect_failure(), &failure);
    }
    let odd = placed(Ok(Response::new(200).with_body("no json")));
    assert!(
        odd.expect_failure()
            .reason()
            .contains("the answer is not as expected")
    );
}

#[test]
fn a_call_without_a_scripted_answer_says_what_is_missing() {
    let outcome = Host::<Payments>::new().deliver(&OrderPlaced { order: 7 });
    assert!(
        matches!(&outcome.ending, Ending::Trapped(text) if text.contains("host.answer")),
        "{outcome:?}"
    );
}

#[test]
fn what_a_plugin_asks_for_stands_in_its_manifest() {
    let asks = Payments::manifest().asks;
    assert_eq!((asks.len(), &*asks[0].capability), (1, "http"));
    assert_eq!(asks[0].scope, ["POST pay.example:443", "GET pay.example:443"]);
}
