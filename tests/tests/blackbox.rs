//! The whole process from outside.
#![expect(clippy::unwrap_used, reason = "a test ends when something is wrong")]

#[path = "blackbox/access.rs"]
mod access;
#[path = "blackbox/bad_input.rs"]
mod bad_input;
#[path = "blackbox/bundle.rs"]
mod bundle;
#[path = "blackbox/cloud_events.rs"]
mod cloud_events;
#[path = "blackbox/command_line.rs"]
mod command_line;
#[path = "blackbox/compile.rs"]
mod compile;
#[path = "blackbox/configuration.rs"]
mod configuration;
#[path = "blackbox/contracts.rs"]
mod contracts;
#[path = "blackbox/crash.rs"]
mod crash;
#[path = "blackbox/crash_points.rs"]
mod crash_points;
#[path = "blackbox/dashboard.rs"]
mod dashboard;
#[path = "blackbox/deployment.rs"]
mod deployment;
#[path = "blackbox/disk_full.rs"]
mod disk_full;
#[path = "blackbox/doctor.rs"]
mod doctor;
#[path = "blackbox/faults.rs"]
mod faults;
#[path = "blackbox/fuzzed_api.rs"]
mod fuzzed_api;
#[path = "blackbox/going_back.rs"]
mod going_back;
#[path = "blackbox/hostile.rs"]
mod hostile;
#[path = "blackbox/inner_loop.rs"]
mod inner_loop;
#[path = "blackbox/javascript.rs"]
mod javascript;
#[path = "blackbox/lanes.rs"]
mod lanes;
#[path = "blackbox/limits.rs"]
mod limits;
#[path = "blackbox/log_tools.rs"]
mod log_tools;
#[path = "blackbox/map.rs"]
mod map;
#[path = "blackbox/mistakes.rs"]
mod mistakes;
#[path = "blackbox/otlp.rs"]
mod otlp;
#[path = "blackbox/outgoing.rs"]
mod outgoing;
#[path = "blackbox/own_canary.rs"]
mod own_canary;
#[path = "blackbox/retention.rs"]
mod retention;
#[path = "blackbox/rewind.rs"]
mod rewind;
#[path = "blackbox/rot.rs"]
mod rot;
#[path = "blackbox/sigkill.rs"]
mod sigkill;
#[path = "blackbox/story.rs"]
mod story;
#[path = "blackbox/tls.rs"]
mod tls;
#[path = "blackbox/trial.rs"]
mod trial;
#[path = "blackbox/versions.rs"]
mod versions;
#[path = "blackbox/webhooks.rs"]
mod webhooks;
