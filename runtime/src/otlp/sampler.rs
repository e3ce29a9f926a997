//! Which traces are exported, as `OTEL_TRACES_SAMPLER` says. The decision is one for a whole trace: it hangs on what every
//! context of the trace has.

use crate::log::trace_context::TraceContext;

/// Chooses traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether a trace from outside is exported where its context says that it is sampled, and only then.
    follows_parent: bool,
    /// Of 2^63 trace ids, the least ones are exported: so many.
    below: u64,
}

/// All trace ids.
const ALL: u64 = 1 << 63;

impl Default for Sampler {
    fn default() -> Self {
        Self {
            follows_parent: true,
            below: ALL,
        }
    }
}

impl Sampler {
    /// What the specification calls `name`, with the share in `argument` where it takes one; what is wrong otherwise.
    pub(super) fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (follows_parent, rest) = match name.strip_prefix("parentbased_") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let below = match rest {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => share(argument.unwrap_or("1"))?,
            _ => {
                return Err(
                    "write always_on, always_off, traceidratio, or one of these behind parentbased_"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            follows_parent,
            below,
        })
    }

    /// Whether the trace of `context` is exported.
    pub fn takes(&self, context: &TraceContext) -> bool {
        if self.follows_parent && !context.is_made_here() {
            return context.is_sampled();
        }
        // As other programs take it by the same share, so that they choose the same traces.
        let [_, _, _, _, _, _, _, _, low @ ..] = context.trace.to_be_bytes();
        u64::from_be_bytes(low) >> 1 < self.below
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share between 0 and 1 of 2^63"
)]
fn share(argument: &str) -> Result<u64, String> {
    let share: Option<f64> = argument.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    let share =
        share.ok_or_else(|| format!("{argument:?} is no share: write a number from 0 to 1, such as 0.1"))?;
    Ok((share * ALL as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::trace_context::new_traceparent;

    fn given(trace: &str, flags: &str) -> TraceContext {
        TraceContext::parse(&format!("00-0af7651916cd43dd{trace}-b7ad6b7169203331-{flags}")).unwrap()
    }

    #[test]
    fn a_trace_is_taken_whole_or_not_at_all() {
        let (low, high) = ("10000000000000a1", "f0000000000000a1");
        for (name, share, takes) in [
            ("always_on", None, [true; 4]),
            ("always_off", None, [false; 4]),
            ("traceidratio", Some("0.5"), [true, false, true, false]),
            ("parentbased_always_on", None, [true, true, false, false]),
            ("parentbased_traceidratio", Some("0"), [true, true, false, false]),
        ] {
            let sampler = Sampler::named(name, share).unwrap();
            let contexts = [(low, "01"), (high, "01"), (low, "00"), (high, "00")];
            let taken = contexts.map(|(trace, flags)| sampler.takes(&given(trace, flags)));
            assert_eq!(taken, takes, "{name}");
        }
        for (name, takes) in [("parentbased_always_on", true), ("parentbased_always_off", false)] {
            let mut own = String::new();
            let own = TraceContext::parse(new_traceparent(&mut own)).unwrap();
            let sampler = Sampler::named(name, None).unwrap();
            assert_eq!(
                (sampler.takes(&own), sampler.takes(&own.with_span(7))),
                (takes, takes)
            );
        }
    }

    #[test]
    fn what_is_no_sampler_is_refused() {
        for (name, share) in [
            ("sometimes", None),
            ("traceidratio", Some("2")),
            ("traceidratio", Some("x")),
        ] {
            assert!(Sampler::named(name, share).is_err(), "{name}");
        }
    }
}
