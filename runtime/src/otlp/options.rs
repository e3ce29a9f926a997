//! What the standard variables say: whether traces are exported, and how.

use std::time::Duration;

use super::Sampler;

/// How traces are exported. Where to, and with which headers, the exporter's library reads from the variables itself.
#[derive(Debug, Clone)]
pub struct OtlpOptions {
    /// Which traces.
    pub sampler: Sampler,
    /// How long one request may take.
    pub timeout: Duration,
    /// Spans of one request at most.
    pub batch: usize,
    /// How long spans are waited for that go in one request.
    pub delay: Duration,
}

/// A variable has what it can't have.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {what}")]
pub struct BadOtlp {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong, and what to write.
    pub what: String,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self {
            sampler: Sampler::default(),
            timeout: Duration::from_secs(10),
            batch: 512,
            delay: Duration::from_secs(1),
        }
    }
}

impl OtlpOptions {
    /// What the environment says; `None` where nothing is to be exported.
    pub fn from_env() -> Result<Option<Self>, BadOtlp> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, BadOtlp> {
        // An empty variable is one that is not set.
        let get = |name: &'static str| {
            let value = variable(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        };
        // Those of traces stand before those of everything.
        let either = |own, general| get(own).or_else(|| get(general));
        let endpoint = either(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        );
        let exporter = get("OTEL_TRACES_EXPORTER");
        let is_off = get("OTEL_SDK_DISABLED").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
        match exporter.as_ref().map(|(name, value)| (*name, value.as_str())) {
            _ if is_off => return Ok(None),
            Some((_, "none")) => return Ok(None),
            None if endpoint.is_none() => return Ok(None),
            None | Some((_, "otlp")) => {}
            Some((variable, other)) => {
                let what = format!("{other:?} is no exporter of nerve: write otlp or none");
                return Err(BadOtlp { variable, what });
            }
        }
        if let Some((variable, value)) = &endpoint
            && !value.starts_with("http://")
            && !value.starts_with("https://")
        {
            let what =
                format!("{value:?} is no address: write the whole of it, such as http://127.0.0.1:4318");
            return Err(BadOtlp { variable, what });
        }
        let protocol = either(
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        );
        if let Some((variable, value)) = protocol.filter(|(_, value)| value != "http/protobuf") {
            let what = format!(
                "{value:?} is not spoken here: write http/protobuf, which collectors take at port 4318"
            );
            return Err(BadOtlp { variable, what });
        }
        let compression = either(
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        );
        if let Some((variable, value)) = compression.filter(|(_, value)| value != "none") {
            let what = format!("{value:?} is not done here: write none, or leave it out");
            return Err(BadOtlp { variable, what });
        }
        let mut options = Self::default();
        if let Some((variable, name)) = get("OTEL_TRACES_SAMPLER") {
            let argument = get("OTEL_TRACES_SAMPLER_ARG").map(|(_, value)| value);
            options.sampler = Sampler::named(&name, argument.as_deref()).map_err(|what| BadOtlp {
                variable,
                what: format!("{name:?}: {what}"),
            })?;
        }
        let millis = |given: Option<(&'static str, String)>, default: Duration| {
            given.map_or(Ok(default), |given| number(given).map(Duration::from_millis))
        };
        let timeout = either("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        options.timeout = millis(timeout, options.timeout)?;
        options.delay = millis(get("OTEL_BSP_SCHEDULE_DELAY"), options.delay)?;
        if let Some(given) = get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
            options.batch = usize::try_from(number(given)?).unwrap_or(usize::MAX);
        }
        Ok(Some(options))
    }
}

fn number((variable, value): (&'static str, String)) -> Result<u64, BadOtlp> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| BadOtlp {
        variable,
        what: format!("{value:?} is no whole number above 0"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<Option<OtlpOptions>, String> {
        OtlpOptions::read(|name| {
            let found = set.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .map_err(|bad| bad.to_string())
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        for off in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[("OTEL_SERVICE_NAME", "shop")],
            &[ON, ("OTEL_SDK_DISABLED", "True")],
            &[ON, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(off).unwrap().is_none(), "{off:?}");
        }
        for on in [
            &[ON][..],
            &[(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://collector/v1/traces",
            )],
            &[("OTEL_TRACES_EXPORTER", "otlp")],
            &[ON, ("OTEL_SDK_DISABLED", "no")],
        ] {
            assert!(read(on).unwrap().is_some(), "{on:?}");
        }
    }

    #[test]
    fn the_variables_of_traces_stand_before_those_of_everything() {
        let options = read(&[
            ON,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9"),
            ("OTEL_BSP_SCHEDULE_DELAY", "11"),
        ]);
        let options = options.unwrap().unwrap();
        let millis = [options.timeout, options.delay].map(|wait| wait.as_millis());
        assert_eq!((millis, options.batch), ([7, 11], 9));
    }

    #[test]
    fn what_is_not_done_is_refused_by_the_name_of_its_variable() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ] {
            let refused = read(&[ON, (name, value)]).unwrap_err();
            assert!(refused.starts_with(name) && refused.contains(value), "{refused}");
        }
    }
}
