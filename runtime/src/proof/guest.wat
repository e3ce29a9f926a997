;; A plugin that keeps the same state as the functions of the simulation do: it counts what it handled under "count", and
;; appends the name of each event to "order/KEY". What else it does is drawn from the delivery's seed. X is its name.
(module
  (import "nerve:plugin/clock@1.0.0" "now" (func $now (result i64)))
  (import "nerve:plugin/random@1.0.0" "u64" (func $random (result i64)))
  (import "nerve:plugin/config@1.0.0" "get" (func $config (param i32 i32 i32)))
  (import "nerve:plugin/state@1.0.0" "get" (func $get (param i32 i32 i32)))
  (import "nerve:plugin/state@1.0.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "nerve:plugin/events@1.0.0" "emit"
    (func $emit (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "nerve:plugin/timers@1.0.0" "set" (func $timer (param i32 i32)))
  (import "nerve:plugin/timers@1.0.0" "cancel" (func $cancel (param i32 i32 i32)))

  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))

  ;; 512: an answer that says ok. 544 and 608: answers that say retry, and reject.
  (data (i32.const 544) "\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\08\00\00\05\00\00\00")
  (data (i32.const 608) "\01\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\08\00\00\05\00\00\00")
  ;; 1024: what host functions answer. 1280: a counter's value. 1536: the key "order/KEY". 1792: a timer's parts.
  (data (i32.const 1536) "order/")
  (data (i32.const 2048) "drawn")
  (data (i32.const 2064) "count")
  (data (i32.const 2080) "out.X")
  (data (i32.const 2096) "tick.X")
  (data (i32.const 2112) "k0k1k2")
  (data (i32.const 2128) "t0t1t2")
  (data (i32.const 2144) "\c0")
  (data (i32.const 2160) "broken")
  (data (i32.const 2176) "X>")

  ;; Gives out memory; all of it is free again behind each event.
  (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1)))))
    (local.get $at))

  (func $list (param $at i32) (param $pointer i32) (param $length i32)
    (i32.store (local.get $at) (local.get $pointer))
    (i32.store offset=4 (local.get $at) (local.get $length)))

  (func (export "nerve:plugin/handler@1.0.0#describe") (result i32)
    (call $list (i32.const 4096) (i32.const 2176) (i32.const 1))
    (call $list (i32.const 4112) (i32.const 4160) (i32.const 1))
    (call $list (i32.const 4120) (i32.const 4168) (i32.const 2))
    (call $list (i32.const 4160) (i32.const 2177) (i32.const 1))
    (call $list (i32.const 4168) (i32.const 2080) (i32.const 5))
    (call $list (i32.const 4176) (i32.const 2096) (i32.const 6))
    (i32.const 4096))

  ;; The bits of a number from a place on, below a bound.
  (func $bits (param $of i64) (param $from i64) (param $below i64) (result i32)
    (i32.wrap_i64 (i64.rem_u (i64.and (i64.shr_u (local.get $of) (local.get $from)) (i64.const 0xffff))
      (local.get $below))))

  ;; The subject of the event, a dot, the plugin's name, and one more character.
  (func $subject (param $event i32) (param $last i32) (result i32)
    (local $at i32) (local $length i32)
    (local.set $length (i32.load offset=40 (local.get $event)))
    (local.set $at (call $alloc (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.add (local.get $length) (i32.const 3))))
    (memory.copy (local.get $at) (i32.load offset=36 (local.get $event)) (local.get $length))
    (i32.store8 (i32.add (local.get $at) (local.get $length)) (i32.const 46))
    (i32.store8 offset=1 (i32.add (local.get $at) (local.get $length)) (i32.load8_u (i32.const 2176)))
    (i32.store8 offset=2 (i32.add (local.get $at) (local.get $length)) (local.get $last))
    (local.get $at))

  ;; Whether the subject has no two dots yet: what is deeper emits nothing.
  (func $is_shallow (param $event i32) (result i32)
    (local $at i32) (local $dots i32)
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $at) (i32.load offset=40 (local.get $event))))
        (local.set $dots (i32.add (local.get $dots) (i32.eq (i32.const 46)
          (i32.load8_u (i32.add (i32.load offset=36 (local.get $event)) (local.get $at))))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.lt_u (local.get $dots) (i32.const 2)))

  (func $count
    (call $get (i32.const 2064) (i32.const 5) (i32.const 1024))
    (i64.store (i32.const 1280) (i64.const 1))
    (if (i32.load8_u (i32.const 1024))
      (then (i64.store (i32.const 1280)
        (i64.add (i64.const 1) (i64.load (i32.load offset=4 (i32.const 1024)))))))
    (call $set (i32.const 2064) (i32.const 5) (i32.const 1280) (i32.const 8) (i32.const 1024)))

  (func $order (param $event i32)
    (local $key i32) (local $old i32) (local $length i32) (local $at i32)
    (local.set $key (i32.const 1))
    (i32.store8 (i32.const 1542) (i32.const 45))
    (if (i32.load8_u offset=44 (local.get $event))
      (then
        (local.set $key (i32.load offset=52 (local.get $event)))
        (memory.copy (i32.const 1542) (i32.load offset=48 (local.get $event)) (local.get $key))))
    (call $get (i32.const 1536) (i32.add (i32.const 6) (local.get $key)) (i32.const 1024))
    (if (i32.load8_u (i32.const 1024))
      (then (local.set $old (i32.load offset=8 (i32.const 1024)))))
    (local.set $length (i32.load offset=40 (local.get $event)))
    (local.set $at (call $alloc (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.add (i32.add (local.get $old) (local.get $length)) (i32.const 1))))
    (memory.copy (local.get $at) (i32.load offset=4 (i32.const 1024)) (local.get $old))
    (memory.copy (i32.add (local.get $at) (local.get $old)) (i32.load offset=36 (local.get $event))
      (local.get $length))
    (i32.store8 (i32.add (local.get $at) (i32.add (local.get $old) (local.get $length))) (i32.const 32))
    (call $set (i32.const 1536) (i32.add (i32.const 6) (local.get $key)) (local.get $at)
      (i32.add (i32.add (local.get $old) (local.get $length)) (i32.const 1)) (i32.const 1024)))

  ;; Emit up to two events: without a key, or with one of three.
  (func $emits (param $event i32) (param $drawn i64)
    (local $left i32) (local $key i32)
    (local.set $left (call $bits (local.get $drawn) (i64.const 8) (i64.const 3)))
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $key (call $bits (local.get $drawn)
          (i64.extend_i32_u (i32.add (i32.const 16) (local.get $left))) (i64.const 4)))
        (call $emit (i32.const 2080) (i32.const 5)
          (i32.const 1) (call $subject (local.get $event) (i32.add (i32.const 48) (local.get $left)))
          (i32.add (i32.load offset=40 (local.get $event)) (i32.const 3))
          (i32.lt_u (local.get $key) (i32.const 3))
          (i32.add (i32.const 2112) (i32.mul (i32.const 2) (i32.rem_u (local.get $key) (i32.const 3))))
          (i32.const 2)
          (i32.const 0) (i32.const 0) (i32.const 0)
          (i32.const 2144) (i32.const 1) (i32.const 1024))
        (br $next))))

  ;; Set the timer t0 or t1, to fire within 65 ms.
  (func $sets (param $event i32) (param $drawn i64)
    (call $list (i32.const 1792)
      (i32.add (i32.const 2128) (i32.mul (i32.const 2) (call $bits (local.get $drawn) (i64.const 3) (i64.const 2))))
      (i32.const 2))
    (i32.store8 (i32.const 1800) (i32.const 0))
    (i64.store (i32.const 1808) (i64.add (call $now)
      (i64.extend_i32_u (call $bits (local.get $drawn) (i64.const 24) (i64.const 65536)))))
    (call $list (i32.const 1816) (i32.const 2096) (i32.const 6))
    (i32.store8 (i32.const 1824) (i32.const 1))
    (call $list (i32.const 1828) (call $subject (local.get $event) (i32.const 116))
      (i32.add (i32.load offset=40 (local.get $event)) (i32.const 3)))
    (i32.store8 (i32.const 1836) (i32.const 1))
    (call $list (i32.const 1840) (i32.const 2112) (i32.const 2))
    (i32.store8 (i32.const 1848) (i32.const 0))
    (call $list (i32.const 1860) (i32.const 2144) (i32.const 1))
    (call $timer (i32.const 1792) (i32.const 1024)))

  (func (export "nerve:plugin/handler@1.0.0#handle") (param $event i32) (result i32)
    (local $drawn i64) (local $fate i32)
    (call $config (i32.const 2160) (i32.const 6) (i32.const 1024))
    (if (i32.load8_u (i32.const 1024)) (then unreachable))
    (local.set $drawn (call $random))
    (local.set $fate (call $bits (local.get $drawn) (i64.const 0) (i64.const 32)))
    (call $count)
    (call $order (local.get $event))
    (if (call $is_shallow (local.get $event))
      (then
        (call $emits (local.get $event) (local.get $drawn))
        (if (i32.eqz (call $bits (local.get $drawn) (i64.const 40) (i64.const 5)))
          (then (call $sets (local.get $event) (local.get $drawn))))))
    (if (i32.eqz (call $bits (local.get $drawn) (i64.const 44) (i64.const 12)))
      (then (call $cancel (i32.const 2132) (i32.const 2) (i32.const 1024))))
    ;; Whoever fails has asked for its effects before.
    (if (i32.eqz (local.get $fate)) (then unreachable))
    (global.set $heap (i32.const 65536))
    (if (i32.lt_u (local.get $fate) (i32.const 4)) (then (return (i32.const 544))))
    (if (i32.eq (local.get $fate) (i32.const 4)) (then (return (i32.const 608))))
    (i32.const 512)))
