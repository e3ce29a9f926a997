;; A plugin called g that takes its events in one piece and asks for the next one. It emits one event for each, whose data is how
;; often it was called; what else it does, the last byte of the event's data says.
(module
  (import "nerve:plugin/events@1.0.0" "emit"
    (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "nerve:plugin/series@1.0.0" "next" (func $next (param i32)))

  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (global $calls (mut i32) (i32.const 0))

  ;; 512: an answer that says ok. 544: one that says retry. 1024: what host functions answer. 2100: what is emitted.
  (data (i32.const 544) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\08\00\00\05\00\00\00")
  (data (i32.const 2048) "later")
  (data (i32.const 2080) "out")
  (data (i32.const 2176) "g>")

  (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))

  (func $list (param $at i32) (param $pointer i32) (param $length i32)
    (i32.store (local.get $at) (local.get $pointer))
    (i32.store offset=4 (local.get $at) (local.get $length)))

  (func (export "nerve:plugin/handler@1.0.0#describe") (result i32)
    (call $list (i32.const 4096) (i32.const 2176) (i32.const 1))
    (call $list (i32.const 4112) (i32.const 4160) (i32.const 1))
    (call $list (i32.const 4120) (i32.const 4168) (i32.const 1))
    (call $list (i32.const 4160) (i32.const 2177) (i32.const 1))
    (call $list (i32.const 4168) (i32.const 2080) (i32.const 3))
    (i32.const 4096))

  (func (export "nerve:plugin/handler@1.0.0#handle") (param i32) (result i32) (unreachable))

  (func $emit_calls
    (i32.store8 (i32.const 2100) (global.get $calls))
    (call $emit (i32.const 2080) (i32.const 3)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2100) (i32.const 1) (i32.const 1024)))

  (func (export "nerve:plugin/packed@1.0.0#handle") (param $at i32) (param $length i32) (result i32)
    (local $what i32) (local $more i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (loop $on
      (local.set $what (i32.load8_u (i32.sub (i32.add (local.get $at) (local.get $length)) (i32.const 1))))
      (local.set $more (i32.and (i32.load offset=24 (local.get $at)) (i32.const 2)))
      (call $emit_calls)
      (if (i32.eq (local.get $what) (i32.const 1)) (then (unreachable)))
      (if (i32.eq (local.get $what) (i32.const 2)) (then (return (i32.const 544))))
      ;; It emits without end.
      (if (i32.eq (local.get $what) (i32.const 3)) (then (loop $again (call $emit_calls) (br $again))))
      ;; It passes over the one that follows.
      (if (i32.eq (local.get $what) (i32.const 4)) (then (call $next (i32.const 1024))))
      (if (i32.eqz (local.get $more)) (then (return (i32.const 512))))
      (call $next (i32.const 1024))
      (local.set $at (i32.load offset=4 (i32.const 1024)))
      (local.set $length (i32.load offset=8 (i32.const 1024)))
      (br_if $on (i32.load8_u (i32.const 1024))))
    ;; Who asks on gets nothing.
    (call $next (i32.const 1024))
    (if (i32.load8_u (i32.const 1024)) (then (unreachable)))
    (i32.const 512))
)
