//! Log lines. They are kept in the outcome of the delivery, also when it fails.

pub use crate::bindings::generated::nerve::plugin::log::Level;

/// Write one line: what the macros [`trace!`](macro@trace), [`debug!`](macro@debug), [`info!`](macro@info), [`warn!`](macro@warn) and [`error!`](macro@error)
/// come to.
#[doc(hidden)]
pub fn write(level: Level, message: std::fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => crate::host::log(level, text),
        None => crate::host::log(level, &message.to_string()),
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_trace {
    ($($arg:tt)*) => {
        $crate::private::write($crate::Level::Trace, ::core::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_debug {
    ($($arg:tt)*) => {
        $crate::private::write($crate::Level::Debug, ::core::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_info {
    ($($arg:tt)*) => {
        $crate::private::write($crate::Level::Info, ::core::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_warn {
    ($($arg:tt)*) => {
        $crate::private::write($crate::Level::Warn, ::core::format_args!($($arg)*))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_error {
    ($($arg:tt)*) => {
        $crate::private::write($crate::Level::Error, ::core::format_args!($($arg)*))
    };
}

/// Write a log line for finding faults; the arguments are those of `format!`.
pub use crate::log_debug as debug;
/// Write a log line about something that failed; the arguments are those of `format!`.
pub use crate::log_error as error;
/// Write a log line worth knowing; the arguments are those of `format!`.
pub use crate::log_info as info;
/// Write a log line for following single steps; the arguments are those of `format!`.
pub use crate::log_trace as trace;
/// Write a log line about something unexpected that was handled; the arguments are those of `format!`.
pub use crate::log_warn as warn;
