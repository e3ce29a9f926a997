//! 2 APPEND and 3 DURABLE: the one place where records enter the log.

pub mod record;
