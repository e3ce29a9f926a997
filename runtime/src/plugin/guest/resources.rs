//! What an instance takes of the host's memory, counted over all of its memories and tables.

use wasmtime::{ResourceLimiter, Trap};

use super::Guest;
use crate::log::record::FailureClass;

/// What an instance has taken so far. It gives nothing back before its end.
#[derive(Debug, Default)]
pub(super) struct Taken {
    memory_bytes: usize,
    table_elements: usize,
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, has: usize, wants: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.settings.limits.memory_bytes;
        let taken = self.taken.memory_bytes.saturating_add(wants.saturating_sub(has));
        if taken > limit {
            let reason = format!("limit memory_bytes: it asked for {taken} bytes, and {limit} are allowed");
            self.hit.get_or_insert((FailureClass::Memory, reason));
            return Ok(false);
        }
        self.taken.memory_bytes = taken;
        Ok(true)
    }

    fn table_growing(&mut self, has: usize, wants: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.settings.limits.table_elements;
        let taken = self
            .taken
            .table_elements
            .saturating_add(wants.saturating_sub(has));
        if taken > limit {
            self.limit_hit(format!(
                "limit table_elements: its tables asked for {taken} elements, and {limit} are allowed"
            ));
            return Ok(false);
        }
        self.taken.table_elements = taken;
        Ok(true)
    }

    fn memories(&self) -> usize {
        self.settings.limits.memories
    }

    fn tables(&self) -> usize {
        self.settings.limits.tables
    }

    fn instances(&self) -> usize {
        usize::try_from(self.settings.limits.shape.instances).unwrap_or(usize::MAX)
    }
}

impl Guest {
    /// Bytes of memory that it has.
    pub(super) fn memory_bytes(&self) -> usize {
        self.taken.memory_bytes
    }

    /// The limit that ended the guest with `cause`, where one did: the first that it hit, or one that the engine keeps.
    pub(in crate::plugin) fn reached_limit(
        &mut self,
        cause: &wasmtime::Error,
        stack_bytes: usize,
    ) -> Option<(FailureClass, String)> {
        let kept = || {
            let limits = &self.settings.limits;
            let root = cause.root_cause().to_string();
            if matches!(cause.downcast_ref(), Some(Trap::StackOverflow)) {
                Some(format!(
                    "limit stack: its stack of {stack_bytes} bytes is used up (call stack exhausted)"
                ))
            } else if root.contains("fuel allocated for hostcalls") {
                let most = limits.host_call_bytes;
                Some(format!(
                    "limit host_call_bytes: {most} bytes may be handed to the host in one call"
                ))
            } else if root.contains("store handle limit exceeded") {
                Some(format!("limit handles: {} may be had at a time", limits.handles))
            } else {
                None
            }
        };
        let kept = kept();
        self.hit
            .take()
            .or_else(|| kept.map(|reason| (FailureClass::Limit, reason)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plugin::settings::Settings;

    #[test]
    fn many_small_memories_and_tables_are_counted_together() {
        let text = "[limits]\nmemory_bytes = 100\ntable_elements = 10";
        let settings = Arc::new(Settings::parse(text).unwrap());
        let mut guest = Guest::new(settings, false, Arc::default());
        let mut memory = |has, wants| guest.memory_growing(has, wants, None).unwrap();
        assert!(memory(0, 60) && memory(0, 30) && memory(30, 40));
        assert!(!memory(0, 1), "all of it is taken");
        assert_eq!(
            guest.hit.take().unwrap(),
            (
                FailureClass::Memory,
                "limit memory_bytes: it asked for 101 bytes, and 100 are allowed".into()
            )
        );
        let mut table = |has, wants| guest.table_growing(has, wants, None).unwrap();
        assert!(table(0, 5) && table(0, 5) && !table(5, 6));
        assert!(guest.hit.unwrap().1.starts_with("limit table_elements: "));
    }
}
