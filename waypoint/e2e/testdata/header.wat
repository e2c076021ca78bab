;; A proxy-wasm module (ABI 0.2.1) for tests. What it does to requests is its configuration:
;;   crash     traps on a request's headers
;;   loop      never returns from a request's headers
;;   Answer    never returns from an answer's headers
;;   Start     never returns from its configuration
;;   Tick      never returns from a timer, a while after it was configured
;;   outbound  calls Envoy's own cluster "launcher", and traps if it may
;;   other     adds the configuration as header x-wasm to requests and answers
(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $every (param i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (global $config (mut i32) (i32.const 0))
  (global $size (mut i32) (i32.const 0))
  (data (i32.const 16) "x-wasm")
  (data (i32.const 32) "launcher")
  (data (i32.const 64) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00\3a\6d\65\74\68\6f\64\00\47\45\54\00\3a\70\61\74\68\00\2f\00\3a\61\75\74\68\6f\72\69\74\79\00\78\00") ;; :method GET, :path /, :authority x
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $n i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (local.get $at) (local.get $n)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param $ctx i32) (param $n i32) (result i32)
    ;; 7: the plugin's configuration; its address and size go to 0 and 4
    (drop (call $buffer (i32.const 7) (i32.const 0) (local.get $n) (i32.const 0) (i32.const 4)))
    (global.set $config (i32.load (i32.const 0)))
    (global.set $size (i32.load (i32.const 4)))
    (if (call $is (i32.const 83)) (then (loop $for (br $for)))) ;; "S"
    (if (call $is (i32.const 84)) (then (drop (call $every (i32.const 1000))))) ;; "T"
    (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (loop $for (br $for)))
  (func $mark (param $map i32)
    (drop (call $add (local.get $map) (i32.const 16) (i32.const 6) (global.get $config) (global.get $size))))
  (func $is (param $first i32) (result i32)
    (i32.and (i32.ge_u (global.get $size) (i32.const 4))
             (i32.eq (i32.load8_u (global.get $config)) (local.get $first))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (call $is (i32.const 99)) (then unreachable))         ;; "c"
    (if (call $is (i32.const 108)) (then (loop $for (br $for)))) ;; "l"
    (if (call $is (i32.const 111)) ;; "o"
      (then (if (i32.eqz (call $call (i32.const 32) (i32.const 8) (i32.const 64) (i32.const 61) (i32.const 0) (i32.const 0)
                                     (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 8)))
        (then unreachable))))
    (call $mark (i32.const 0))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (if (call $is (i32.const 65)) (then (loop $for (br $for)))) ;; "A"
    (call $mark (i32.const 2))
    (i32.const 0)))
