//! The command line: one command per file. The only place that prints.
