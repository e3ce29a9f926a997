//! The shape of a component: how much of everything it has. Absurd shapes are refused before anything is compiled.
//!
//! Only the heads of sections are read, so that this costs next to nothing, whatever the bytes are; what is not
//! well-formed is the compiler's to refuse.

use wasmparser::{Parser, Payload};

/// How much of everything a component may have, all parts of it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// Functions, imported or not. Default 200,000.
    pub functions: u64,
    /// Types. Default 50,000.
    pub types: u64,
    /// Imports. Default 20,000.
    pub imports: u64,
    /// Modules and components, and components inside components. Default 200.
    pub modules: u64,
    /// Instances. Default 1000.
    pub instances: u64,
    /// How deep components may lie inside each other. Default 8.
    pub nesting: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            functions: 200_000,
            types: 50_000,
            imports: 20_000,
            modules: 200,
            instances: 1000,
            nesting: 8,
        }
    }
}

/// There is too much of something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit {limit}: the component has {count}, and {most} are allowed; raise limits.{limit}")]
pub struct Absurd {
    /// The setting, below `limits`.
    pub limit: &'static str,
    /// How much of it there is, as far as was counted.
    pub count: u64,
    /// The most.
    pub most: u64,
}

impl Shape {
    /// By the names of their settings.
    pub fn shown(&self) -> [(&'static str, u64); 6] {
        [
            ("shape.functions", self.functions),
            ("shape.types", self.types),
            ("shape.imports", self.imports),
            ("shape.modules", self.modules),
            ("shape.instances", self.instances),
            ("shape.nesting", self.nesting),
        ]
    }

    /// Check that `component`, or core module, has no more than this of anything.
    pub fn check(&self, component: &[u8]) -> Result<(), Absurd> {
        let mut found = Self {
            functions: 0,
            types: 0,
            imports: 0,
            modules: 0,
            instances: 0,
            nesting: 0,
        };
        let mut depth = 0_u64;
        for payload in Parser::new(0).parse_all(component) {
            let Ok(payload) = payload else { return Ok(()) };
            let many = |count: u32| u64::from(count);
            match payload {
                Payload::TypeSection(types) => found.types += many(types.count()),
                Payload::CoreTypeSection(types) => found.types += many(types.count()),
                Payload::ComponentTypeSection(types) => found.types += many(types.count()),
                Payload::ImportSection(imports) => found.imports += many(imports.count()),
                Payload::ComponentImportSection(imports) => found.imports += many(imports.count()),
                Payload::FunctionSection(functions) => found.functions += many(functions.count()),
                Payload::ComponentCanonicalSection(functions) => found.functions += many(functions.count()),
                Payload::InstanceSection(instances) => found.instances += many(instances.count()),
                Payload::ComponentInstanceSection(instances) => found.instances += many(instances.count()),
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    found.modules += 1;
                    depth += 1;
                    found.nesting = found.nesting.max(depth);
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => continue,
            }
            let most = self.shown();
            let over = found
                .shown()
                .into_iter()
                .zip(most)
                .find(|((_, count), (_, most))| count > most);
            if let Some(((limit, count), (_, most))) = over {
                return Err(Absurd { limit, count, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absurd(text: &str) -> Option<&'static str> {
        let shape = Shape {
            functions: 5,
            types: 5,
            imports: 5,
            modules: 5,
            instances: 5,
            nesting: 3,
        };
        let component = wat::parse_str(text).unwrap();
        let refused = shape.check(&component).err()?;
        assert!(refused.count > refused.most, "{refused}");
        Some(refused.limit)
    }

    #[test]
    fn too_much_of_anything_is_named() {
        let many = |one: &str, count: usize| one.repeat(count);
        assert_eq!(absurd(&format!("(module {})", many("(func)", 5))), None);
        for (text, limit) in [
            (format!("(module {})", many("(func)", 6)), "shape.functions"),
            (
                format!(
                    "(component {})",
                    many("(core module (type (func)) (type (func (param i32))))", 3)
                ),
                "shape.types",
            ),
            (
                format!("(module {})", many("(import \"a\" \"b\" (func))", 6)),
                "shape.imports",
            ),
            (
                format!("(component {})", many("(core module)", 6)),
                "shape.modules",
            ),
            (
                format!(
                    "(component (core module $m) {})",
                    many("(core instance (instantiate $m))", 6)
                ),
                "shape.instances",
            ),
            (
                format!("{}{}", many("(component ", 5), many(")", 5)),
                "shape.nesting",
            ),
        ] {
            assert_eq!(absurd(&text), Some(limit), "{text}");
        }
    }

    #[test]
    fn what_is_cut_off_or_states_absurd_counts_harms_nobody() {
        let whole = wat::parse_str("(component (core module (func)))").unwrap();
        for end in 0..whole.len() {
            Shape::default().check(&whole[..end]).ok();
        }
        // A function section that states four billion functions.
        let lies = b"\0asm\x01\0\0\0\x03\x05\xff\xff\xff\xff\x0f";
        assert_eq!(Shape::default().check(lies).unwrap_err().limit, "shape.functions");
    }
}
