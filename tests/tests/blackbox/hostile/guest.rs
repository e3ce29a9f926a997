//! Makes plugins out of WebAssembly text, against the functions that the world of nerve plugins has below its types: so
//! that they can do what no honest tool chain would.

use std::fmt::Write;
use std::path::Path;

/// Address of the description, of the texts that bodies may use, of a space for answers, and of a result that says ok.
pub(super) const MANIFEST: u32 = 4096;
pub(super) const TYPE: u32 = 2048;
pub(super) const NOT_UTF8: u32 = 2080;
pub(super) const KEY: u32 = 2100;
pub(super) const NIL: u32 = 2110;
pub(super) const NOT_PACKED: u32 = 2111;
pub(super) const ANSWER: u32 = 1024;
pub(super) const OK: u32 = 512;

/// What a plugin may call.
const IMPORTS: &str = r#"
  (import "nerve:plugin/clock@1.0.0" "now" (func $now (result i64)))
  (import "nerve:plugin/log@1.0.0" "write" (func $write (param i32 i32 i32)))
  (import "nerve:plugin/events@1.0.0" "emit"
    (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "nerve:plugin/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "nerve:plugin/state@1.0.0" "scan" (func $scan (param i32 i32 i32 i32 i32 i32 i32)))
  (import "nerve:plugin/random@1.0.0" "bytes" (func $bytes (param i32 i32)))
  (import "nerve:plugin/timers@1.0.0" "set" (func $timer (param i32 i32)))
  (import "nerve:plugin/series@1.0.0" "next" (func $next (param i32)))
"#;

/// Gives out memory and takes none back.
const REALLOC: &str = "
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1)))))
    (local.get $at)";

/// A plugin in text. What is not said is as an honest one has it.
pub(super) struct Guest {
    /// Its name.
    pub(super) name: String,
    /// The type that it subscribes to.
    pub(super) subscribes: String,
    /// What `describe` does.
    pub(super) describe: String,
    /// What `handle` does; local 0 is the event's address.
    pub(super) handle: String,
    /// What `handle` of events in one piece does, and how the types say that it gets them; local 0 is the event's address.
    pub(super) packed: Option<(String, &'static str)>,
    /// Its memory, in pages.
    pub(super) memory: String,
    /// What its allocator does: locals 0 to 3 are the old address, old size, alignment and new size.
    pub(super) realloc: String,
    /// Further parts of the module.
    pub(super) besides: String,
}

impl Guest {
    /// An honest plugin that does nothing, and subscribes to `hostile.NAME`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subscribes: format!("hostile.{name}"),
            describe: format!("(i32.const {MANIFEST})"),
            handle: format!("(i32.const {OK})"),
            packed: None,
            memory: "4".to_owned(),
            realloc: REALLOC.to_owned(),
            besides: String::new(),
        }
    }

    /// Answers every event of the type that it hears with one of the type that it says.
    pub(super) fn answering(name: &str, hears: &str, says: &str) -> Self {
        let mut own = Self::new(name);
        hears.clone_into(&mut own.subscribes);
        own.besides = format!("(data (i32.const 3072) \"{says}\")");
        let none = "(i32.const 0) (i32.const 0) (i32.const 0)";
        own.handle = format!(
            "(call $emit (i32.const 3072) (i32.const {}) {none} {none} {none} (i32.const {NIL}) (i32.const 1)
               (i32.const {ANSWER}))
             (i32.const {OK})",
            says.len()
        );
        own
    }

    /// The module, with the world's types as `nerve-sdk` puts them in.
    pub(super) fn wasm(&self) -> Vec<u8> {
        let text = format!(
            r#"(module {IMPORTS}
              (memory (export "memory") {memory})
              (global $heap (mut i32) (i32.const 65536))
              (data (i32.const {TYPE}) "test.flooded")
              (data (i32.const {NOT_UTF8}) "\ff\fe\fd\fc")
              (data (i32.const {KEY}) "key")
              (data (i32.const {NIL}) "\c0")
              (data (i32.const {NOT_PACKED}) "\c1")
              (data (i32.const {MANIFEST}) "{manifest}")
              {besides}
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
              (func (export "nerve:plugin/handler@1.0.0#describe") (result i32) {describe})
              (func (export "nerve:plugin/handler@1.0.0#handle") (param i32) (result i32) {handle})
              {packed})"#,
            memory = self.memory,
            manifest = escaped(&self.manifest()),
            besides = self.besides,
            realloc = self.realloc,
            describe = self.describe,
            handle = self.handle,
            packed = self.packed.as_ref().map_or_else(String::new, |(handle, _)| format!(
                r#"(func (export "nerve:plugin/packed@1.0.0#handle") (param i32 i32) (result i32) {handle})"#
            )),
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|cause| panic!("{}: {cause}", self.name));
        module.extend(world(self.packed.as_ref().map(|(_, event)| *event)));
        module
    }

    /// The record that `describe` points to: name, version, subscriptions, emits, payload format, schemas, asks, readable.
    fn manifest(&self) -> Vec<u8> {
        let texts_at = 60 + 8 + 8;
        let texts = format!("{}test.flooded{}", self.name, self.subscribes);
        let length = |text: &str| u32::try_from(text.len()).unwrap();
        let (name, kind) = (length(&self.name), length(&self.subscribes));
        let (list, other, text) = (MANIFEST + 60, MANIFEST + 68, MANIFEST + texts_at);
        let words = [
            [text, name],
            [text, 0],
            [list, 1],
            [other, 1],
            [0, 0],
            [0, 0],
            [0, 0],
        ];
        // The payload format is one word, between the emits and the schemas.
        let mut words: Vec<u32> = words.concat();
        words.insert(8, 0);
        words.extend([text + name + 12, kind, text + name, 12]);
        let mut out: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        out.extend(texts.bytes());
        out
    }
}

/// The custom section with the world's types, as tool chains make it; with `packed`, where its event is of a type that is said.
fn world(packed: Option<&str>) -> Vec<u8> {
    let mut types = wit_parser::Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut package = if let Some(event) = packed {
        let changed = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(wit).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(file.path()).unwrap();
            let text = text.replace("event: list<u8>", &format!("event: {event}"));
            std::fs::write(changed.path().join(file.file_name()), text).unwrap();
        }
        types.push_dir(changed.path()).unwrap().0
    } else {
        types.push_dir(wit).unwrap().0
    };
    if packed.is_some() {
        let both = "package hostile:plugin;
            world both { include nerve:plugin/plugin@1.0.0; export nerve:plugin/packed@1.0.0; }";
        package = types.push_str("both.wit", both).unwrap();
    }
    let world = types.select_world(&[package], None).unwrap();
    let empty = b"\0asm\x01\0\0\0";
    let mut module = empty.to_vec();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &types, world, encoding, false).unwrap();
    module.split_off(empty.len())
}

/// Bytes as WebAssembly text has them.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "\\{byte:02x}").unwrap();
        out
    })
}
